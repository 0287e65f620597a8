"""The Ray actors: decode, detect, track; how work passes between them, and what their death means.

Nothing here knows sessions, stores or sources: :mod:`maskstream.pipeline.runtime` hands in what
does, as importable callables and plain data.
"""
