"""What the detector and the tracker both stand on: errors, layers, positions, mask arithmetic."""
