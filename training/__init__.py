"""Training of small checkpoints on generated clips; nothing that runs inference imports it."""
