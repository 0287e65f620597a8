"""The checkpoint that an actor loads, and how it runs it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from maskstream.core.checkpoint import read_config, resolve_checkpoint
from maskstream.core.errors import ConfigError
from maskstream.detector.build import best_device, best_dtype, default_checkpoint, load_detector
from maskstream.detector.frames import FrameDetector
from maskstream.tracker.build import load_tracker
from maskstream.tracker.network.protocol import TrackerNetwork
from maskstream.tracker.video_config import VideoConfig

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A checkpoint and how to run it.

    Attributes:
        checkpoint: "tiny", a folder, an official ``.pt`` file or a hub name; None: the default.
        device: torch's name of it; None: CUDA if the actor has a GPU, else the CPU.
        dtype: "float32", "bfloat16" or "float16"; None: bfloat16 on CUDA, float32 elsewhere.
        num_threads: torch threads in the actor; None: torch's default.

    Raises:
        ConfigError: an unknown dtype.
    """

    checkpoint: str | None = None
    device: str | None = None
    dtype: str | None = None
    num_threads: int | None = 1

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ConfigError(f"dtype is {self.dtype!r}; expected one of {', '.join(DTYPES)}")

    def prepare(self) -> torch.device:
        """Set torch's threads in this process; returns the device of the model."""
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        return best_device() if self.device is None else torch.device(self.device)

    def dtype_on(self, device: torch.device) -> torch.dtype:
        """The dtype of the model on this device."""
        if self.dtype is None:
            return best_dtype(device)
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def check(self) -> None:
        """Check that the checkpoint exists, without loading it.

        Raises:
            CheckpointError: there is none, or its configuration cannot be read.
        """
        read_config(resolve_checkpoint(self.checkpoint or default_checkpoint()))

    def load_detector(self) -> FrameDetector:
        """Load the detector.

        Raises:
            CheckpointError: the checkpoint cannot be read.
        """
        path = resolve_checkpoint(self.checkpoint or default_checkpoint())
        device = self.prepare()
        model = load_detector(path, device=device, dtype=self.dtype_on(device))
        return FrameDetector(model)

    def load_tracker(self) -> tuple[TrackerNetwork, VideoConfig]:
        """Load the tracker and the rules of the video loop.

        Raises:
            CheckpointError: the checkpoint cannot be read.
        """
        path = resolve_checkpoint(self.checkpoint or default_checkpoint())
        device = self.prepare()
        model = load_tracker(path, device=device, dtype=self.dtype_on(device))
        return model, VideoConfig.from_dict(read_config(path))
