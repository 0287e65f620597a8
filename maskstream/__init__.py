"""SAM 3 on live video and on archives: the front door.

A name is imported when it is first used, so reading a result needs neither torch nor Ray. This file
is also the front door of maskstream-client, which has some of the names only.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskstream.detector.build import Sam3ImageModel
    from maskstream.detector.processor import Sam3Processor
    from maskstream.pipeline.api.results import FrameResult
    from maskstream.pipeline.archive.search import Index
    from maskstream.pipeline.client.client import Client
    from maskstream.pipeline.compat.builders import (
        build_sam3_image_model,
        build_sam3_predictor,
        build_sam3_video_model,
        build_sam3_video_predictor,
    )
    from maskstream.pipeline.local.predictor import Sam3VideoPredictor
    from maskstream.pipeline.runtime import Runtime, RuntimeConfig
    from maskstream.pipeline.sources import Frame, open_source
    from maskstream.pipeline.video.demo import demo_clip
    from maskstream.pipeline.video.model import VideoModel
    from maskstream.pipeline.video.segmenter import VideoSegmenter

# How long a thread of OpenMP, which torch computes with, waits awake for the next layer: less than
# a millisecond, instead of as long as it likes. That is enough on an idle machine. On a busy one,
# threads that wait awake keep those from work that they wait for. GNU's OpenMP reads the first
# name, LLVM's and Intel's the second, both when torch is imported: so import maskstream before it.
_WAITING = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}
if not {"OMP_WAIT_POLICY", *_WAITING} & os.environ.keys():
    os.environ.update(_WAITING)

__all__ = [
    "Client",
    "Frame",
    "FrameResult",
    "Index",
    "Runtime",
    "RuntimeConfig",
    "Sam3ImageModel",
    "Sam3Processor",
    "Sam3VideoPredictor",
    "VideoModel",
    "VideoSegmenter",
    "build_sam3_image_model",
    "build_sam3_predictor",
    "build_sam3_video_model",
    "build_sam3_video_predictor",
    "demo_clip",
    "open_source",
]

_MODULES = {
    "Client": "pipeline.client.client",
    "Frame": "pipeline.sources",
    "FrameResult": "pipeline.api.results",
    "Index": "pipeline.archive.search",
    "Runtime": "pipeline.runtime",
    "RuntimeConfig": "pipeline.runtime",
    "Sam3ImageModel": "detector.build",
    "Sam3Processor": "detector.processor",
    "Sam3VideoPredictor": "pipeline.local.predictor",
    "VideoModel": "pipeline.video.model",
    "VideoSegmenter": "pipeline.video.segmenter",
    "build_sam3_image_model": "pipeline.compat.builders",
    "build_sam3_predictor": "pipeline.compat.builders",
    "build_sam3_video_model": "pipeline.compat.builders",
    "build_sam3_video_predictor": "pipeline.compat.builders",
    "demo_clip": "pipeline.video.demo",
    "open_source": "pipeline.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"maskstream.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("maskstream."):
            raise
        raise ImportError(
            f"{name} is not in maskstream-client, which holds the session API alone; "
            "it comes with: pip install maskstream"
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
