"""Images and prompts to detections."""
