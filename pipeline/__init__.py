"""Everything put together: sources, the segmenter, the session API, results, command line."""
