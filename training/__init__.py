"""Training of small checkpoints on generated clips; not imported by anything that runs inference."""
