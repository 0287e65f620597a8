"""The rules of transformers' video loop without its networks: what they say of given masks."""

from __future__ import annotations

from typing import Any

from torch import nn

from maskstream.tracker.video_config import VideoConfig
from tests.parity.reference import video_model_class


def reference_rules(config: VideoConfig) -> Any:
    """A ``Sam3VideoModel`` of thresholds only; methods that run no network work."""
    model: Any = object.__new__(video_model_class())
    nn.Module.__init__(model)
    for name, value in config.to_dict().items():
        setattr(model, name, value)
    return model
