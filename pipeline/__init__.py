"""The public face of maskstream: segment videos in process, or speak the session API.

Names are imported when they are first used: reading a result needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.build import Sam3ImageModel, build_sam3_image_model
    from detector.processor import Sam3Processor
    from pipeline.client import Client
    from pipeline.model import VideoModel
    from pipeline.predictor import Sam3VideoPredictor, build_sam3_video_predictor
    from pipeline.results import FrameResult
    from pipeline.runtime import Runtime, RuntimeConfig
    from pipeline.segmenter import VideoSegmenter
    from pipeline.sources import Frame, open_source

__all__ = [
    "Client",
    "Frame",
    "FrameResult",
    "Runtime",
    "RuntimeConfig",
    "Sam3ImageModel",
    "Sam3Processor",
    "Sam3VideoPredictor",
    "VideoModel",
    "VideoSegmenter",
    "build_sam3_image_model",
    "build_sam3_video_predictor",
    "open_source",
]

_HOMES = {
    "Client": "pipeline.client",
    "Frame": "pipeline.sources",
    "FrameResult": "pipeline.results",
    "Runtime": "pipeline.runtime",
    "RuntimeConfig": "pipeline.runtime",
    "Sam3ImageModel": "detector.build",
    "Sam3Processor": "detector.processor",
    "Sam3VideoPredictor": "pipeline.predictor",
    "VideoModel": "pipeline.model",
    "VideoSegmenter": "pipeline.segmenter",
    "build_sam3_image_model": "detector.build",
    "build_sam3_video_predictor": "pipeline.predictor",
    "open_source": "pipeline.sources",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
