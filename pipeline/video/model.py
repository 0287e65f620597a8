"""The video model: detector, tracker and the rules that join them, from one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskstream.core.checkpoint import read_config, resolve_checkpoint, write_folder
from maskstream.core.checkpoint_folder import MULTIPLEX_MODEL_TYPE
from maskstream.core.errors import ConfigError
from maskstream.core.threads import threads_settled
from maskstream.detector.build import (
    Sam3ImageModel,
    best_device,
    best_dtype,
    default_checkpoint,
    load_detector,
)
from maskstream.detector.checkpoint import to_checkpoint
from maskstream.tracker.build import PREFIX, load_tracker
from maskstream.tracker.network.multiplex.config import MODEL_TYPE as MULTIPLEX_TRACKER
from maskstream.tracker.network.protocol import TrackerNetwork
from maskstream.tracker.video_config import VideoConfig

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def parse_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Turn a dtype or its name into a dtype.

    Raises:
        ConfigError: the model cannot run in it.
    """
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise ConfigError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
        return DTYPES[dtype]
    if dtype not in DTYPES.values():
        raise ConfigError(f"the model cannot run in {dtype}; use one of {', '.join(DTYPES)}")
    return dtype


def parse_device(device: torch.device | str | None) -> torch.device:
    """Turn a device or its name into a device; None is the best that this machine has.

    Raises:
        ConfigError: the name is malformed, or this machine has no such device.
    """
    if device is None:
        return best_device()
    try:
        parsed = torch.device(device)
        torch.empty(0, device=parsed)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {str(device)!r} cannot be used: {reason}") from error
    return parsed


@dataclass(frozen=True, slots=True)
class VideoModel:
    """The networks and rules of a session. Stateless: any number of sessions can share one.

    Attributes:
        detector: finds concepts in single frames.
        tracker: carries masks from frame to frame.
        config: thresholds and rules of the video loop.
    """

    detector: Sam3ImageModel
    tracker: TrackerNetwork
    config: VideoConfig

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> VideoModel:
        """Load a checkpoint.

        Args:
            checkpoint: "tiny", a folder, an official ``.pt`` file or a hub name such as
                ``facebook/sam3``; None takes :func:`maskstream.detector.build.default_checkpoint`.
            device: device of the weights; None takes CUDA if there is any.
            dtype: dtype of the weights and of the computation; None takes bfloat16 on CUDA and
                float32 elsewhere.

        Raises:
            CheckpointError: the checkpoint cannot be read, or its tensors do not fit.
            ConfigError: device, dtype or the checkpoint's configuration cannot be used.
        """
        placed = parse_device(device)
        kind = best_dtype(placed) if dtype is None else parse_dtype(dtype)
        path = resolve_checkpoint(checkpoint or default_checkpoint())
        with threads_settled():
            return cls(
                detector=load_detector(path, device=placed, dtype=kind),
                tracker=load_tracker(path, device=placed, dtype=kind),
                config=VideoConfig.from_dict(read_config(path)),
            )

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.detector.text_projection.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights and of the computation."""
        return self.detector.text_projection.weight.dtype

    def to_config(self) -> dict[str, Any]:
        """The contents of ``config.json`` in the folder layout."""
        tracker = self.tracker.config.to_dict()
        own = tracker["model_type"] == MULTIPLEX_TRACKER
        return {
            **({"model_type": MULTIPLEX_MODEL_TYPE} if own else {}),
            **self.config.to_dict(),
            "detector_config": self.detector.config.to_dict(),
            "tracker_config": tracker,
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """All weights by their names in the folder layout."""
        tensors = to_checkpoint(self.detector.state_dict())
        tensors.update({PREFIX + key: value for key, value in self.tracker.state_dict().items()})
        return tensors

    def save(self, folder: str | Path, tokenizer_files: dict[str, bytes] | None = None) -> Path:
        """Write the folder layout, atomically.

        Raises:
            OutputError: the folder cannot be written, or is not empty.
        """
        return write_folder(Path(folder), self.to_config(), self.to_tensors(), tokenizer_files)
