"""Sessions served in this process, by threads."""
