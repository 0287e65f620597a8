"""Features and detections to masklets."""
