"""Detectors out of checkpoints."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch

from maskstream.core.checkpoint import load_strict, read_config, read_tensors, resolve_checkpoint
from maskstream.core.tensor_faults import check_tensors, shapes_of
from maskstream.core.threads import threads_settled
from maskstream.core.unfilled import unfilled
from maskstream.detector.checkpoint import PREFIXES, to_checkpoint, to_module
from maskstream.detector.config import DetectorConfig
from maskstream.detector.model import Detector
from maskstream.detector.original_options import check_original_options
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
    """A detector with the tokenizer that belongs to its weights."""

    def __init__(self, config: DetectorConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer


def load_detector(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Sam3ImageModel:
    """Read the detector's part of a checkpoint.

    Args:
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
        model = Sam3ImageModel(config, tokenizer)
    # Before projections are joined, so that faults are named as in the file.
    context = f"detector of {path}"
    check_tensors(shapes_of(to_checkpoint(model.state_dict())), shapes_of(tensors), context=context)
    load_strict(model, to_module(tensors), context=context)
    return model.eval()


def build_sam3_image_model(
    *,
    checkpoint_path: str | Path | None = None,
    device: torch.device | str | None = None,
    eval_mode: bool = True,
    dtype: torch.dtype | None = None,
    **original_options: Any,
) -> Sam3ImageModel:
    """The image model that :class:`maskstream.detector.processor.Sam3Processor` takes.

    Args:
        checkpoint_path: "tiny", a folder, an official ``.pt`` file or a hub name such as
            ``facebook/sam3``; None takes :func:`default_checkpoint`.
        device: None takes CUDA where there is one.
        eval_mode: False leaves the model in training mode.
        dtype: None takes :func:`best_dtype`.
        original_options: see :mod:`maskstream.detector.original_options`.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: an argument that is not known here, or asks for what is not offered.
    """
    check_original_options("build_sam3_image_model", original_options)
    path = resolve_checkpoint(checkpoint_path or default_checkpoint())
    placed = device or best_device()
    with threads_settled():
        model = load_detector(path, device=placed, dtype=dtype or best_dtype(placed))
    return model if eval_mode else model.train()
