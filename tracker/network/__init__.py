"""The tracker's networks: what the video loop asks of one, and those that there are."""
