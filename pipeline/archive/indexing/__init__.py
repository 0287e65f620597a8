"""Indexing: videos are worked on chunk by chunk, in this process or on Ray."""
