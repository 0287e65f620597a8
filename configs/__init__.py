"""Model and run presets in YAML, and the embedded checkpoint. Data only."""
