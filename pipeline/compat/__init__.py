"""What programs written for SAM 3 call: its builders, models, batches and drawing functions."""
