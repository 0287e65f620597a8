"""Detectors out of checkpoints."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from maskstream.core.checkpoint import load_strict, read_config, read_tensors
from maskstream.core.tensor_faults import check_tensors, shapes_of
from maskstream.core.unfilled import unfilled
from maskstream.detector.checkpoint import PREFIXES, to_checkpoint, to_module
from maskstream.detector.config import DetectorConfig
from maskstream.detector.model import Detector
from maskstream.detector.tokenizer import Tokenizer, load_tokenizer

DEFAULT_CHECKPOINT_VARIABLE = "MASKSTREAM_CHECKPOINT"
"""Environment variable that names the checkpoint to use where none is given."""


def default_checkpoint() -> str:
    """The checkpoint where none is named: the embedded one, or the environment's."""
    return os.environ.get(DEFAULT_CHECKPOINT_VARIABLE, "tiny")


def best_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_dtype(device: torch.device | str) -> torch.dtype:
    """What models compute in where nobody says: bfloat16 on CUDA, float32 elsewhere."""
    return torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32


class Sam3ImageModel(Detector):
    """A detector with the tokenizer that belongs to its weights.

    Attributes:
        wants_tracker_features: pictures are also encoded for a tracker, which a subclass brings.
    """

    wants_tracker_features = False

    def __init__(self, config: DetectorConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer

    @property
    def backbone(self) -> nn.Module:
        """What encodes pictures, by the name that programs for SAM 3 know."""
        return self.vision_encoder


M = TypeVar("M", bound=Sam3ImageModel)


def load_detector(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Sam3ImageModel:
    """Read the detector's part of a checkpoint; see :func:`load_image_model`."""
    return load_image_model(Sam3ImageModel, path, device=device, dtype=dtype)


def load_image_model(
    make: Callable[[DetectorConfig, Tokenizer], M],
    path: Path,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> M:
    """Read the detector's part of a checkpoint.

    Args:
        make: makes the model that the weights are loaded into.
        path: as :func:`maskstream.core.checkpoint.resolve_checkpoint` gives it.

    Raises:
        CheckpointError: the checkpoint cannot be read, or its tensors do not fit.
        ConfigError: its configuration contradicts itself.
    """
    tensors = read_tensors(path, PREFIXES, dtype=dtype, device=device)
    config = DetectorConfig.from_dict(read_config(path)["detector_config"])
    geometry = dataclasses.replace(
        config.geometry_encoder_config,
        # Files made by transformers lack these parts whatever their configuration says.
        encode_points="detector_model.geometry_encoder.points_direct_project.weight" in tensors,
        encode_masks="detector_model.geometry_encoder.masks_pool_project.weight" in tensors,
    )
    config = dataclasses.replace(config, geometry_encoder_config=geometry)
    tokenizer = load_tokenizer(path, config.text_config.vocab_size)
    with unfilled():
        model = make(config, tokenizer)
    # Before projections are joined, so that faults are named as in the file.
    context = f"detector of {path}"
    check_tensors(shapes_of(to_checkpoint(model.state_dict())), shapes_of(tensors), context=context)
    load_strict(model, to_module(tensors), context=context)
    return model.eval()
