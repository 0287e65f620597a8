"""``Sam3Processor``, in a module of its own as programs for SAM 3 import it."""

from __future__ import annotations

from maskstream.detector.processor import Sam3Processor

__all__ = ["Sam3Processor"]
