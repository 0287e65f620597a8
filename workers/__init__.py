"""The Ray actors that decode, detect and track, how they pass work on, and how they die.

This package knows no session, store or source. :mod:`maskstream.pipeline.runtime` hands them in as
importable callables and plain data.
"""
