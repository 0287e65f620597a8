"""The video model, and ``VideoSegmenter``, which segments a video in one process."""
