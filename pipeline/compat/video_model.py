"""The video model as programs for SAM 3 handle it: moved, and with rules that are set."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Self

import torch

from maskstream.core.errors import ConfigError
from maskstream.detector.build import Sam3ImageModel
from maskstream.pipeline.compat.object_tracker import ObjectTracker
from maskstream.pipeline.video.model import VideoModel, parse_device
from maskstream.tracker.video_config import VideoConfig

RULES = frozenset(spec.name for spec in fields(VideoConfig))
"""Attributes that set a rule of the video loop."""

FIXED = {
    "suppress_det_close_to_boundary": False,
    "masklet_confirmation_enable": False,
}
"""Rules of the original that are not offered, with the only value they can have."""

RELEASED_IMAGE_SIZE = 1008


class Sam3VideoModel:
    """A video model whose rules can be set as attributes, as programs for SAM 3 do it.

    ``model.new_det_thresh = 0.6`` and the like hold for sessions that start afterwards; all fields
    of ``VideoConfig`` can be set. They are checked together when a session starts.

    Attributes:
        detector: finds concepts in single frames.
        tracker: follows single objects, by the calls of SAM 2's video predictor.
    """

    def __init__(self, model: VideoModel) -> None:
        # Past __setattr__, which takes rules only.
        vars(self).update(_model=model, _rules={}, tracker=ObjectTracker(lambda: self.video_model))

    @property
    def video_model(self) -> VideoModel:
        """The model with the rules that were set.

        Raises:
            ConfigError: they do not fit together.
        """
        own: VideoModel = vars(self)["_model"]
        rules: dict[str, Any] = vars(self)["_rules"]
        return replace(own, config=replace(own.config, **rules)) if rules else own

    @property
    def detector(self) -> Sam3ImageModel:
        """Finds concepts in single frames."""
        return self.video_model.detector

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.video_model.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.video_model.dtype

    def to(self, device: torch.device | str) -> Self:
        """Move the weights, in place. Of open sessions, only those without a prompt go along.

        Raises:
            ConfigError: there is no such device.
        """
        placed = parse_device(device)
        model = self.video_model
        model.detector.to(placed)
        model.tracker.to(placed)
        return self

    def cuda(self) -> Self:
        """Move the weights to the GPU."""
        return self.to("cuda")

    def cpu(self) -> Self:
        """Move the weights to the CPU."""
        return self.to("cpu")

    def eval(self) -> Self:
        """The model is always in this mode."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name in RULES:
            return vars(self)["_rules"].get(name, getattr(vars(self)["_model"].config, name))
        if name in FIXED:
            return FIXED[name]
        if name == "image_size":
            return vars(self)["_model"].tracker.config.image_size
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in RULES:
            if name == "recondition_every_nth_frame" and value == -1:
                value = 0  # both say never
            vars(self)["_rules"][name] = value
        elif name in FIXED:
            if value != FIXED[name]:
                raise ConfigError(f"{name} is offered as {FIXED[name]} only, not {value!r}")
        elif name == "image_size":
            if value not in (RELEASED_IMAGE_SIZE, self.image_size):
                raise ConfigError(
                    f"image_size is {value!r}, but this model sees {self.image_size} pixels"
                )
        else:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} to set")
