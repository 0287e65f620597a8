"""Merges the small files of an index into few large ones. No torch, no Ray."""

from maskstream.pipeline.archive.compaction.compact import Compacted, compact

__all__ = ["Compacted", "compact"]
