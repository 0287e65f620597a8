"""Trackers out of checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from maskstream.core.checkpoint import load_strict, read_config, read_tensors, under
from maskstream.core.tensor_faults import check_tensors, shapes_of
from maskstream.core.unfilled import unfilled
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.model import TrackerModel
from maskstream.tracker.network.multiplex.config import MODEL_TYPE, MultiplexConfig
from maskstream.tracker.network.multiplex.model import MultiplexModel

PREFIX = "tracker_model."
"""Where a folder keeps the tensors of a tracker; below it, the names are the module's own."""


def load_tracker(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> TrackerModel | MultiplexModel:
    """Read the tracker's part of a checkpoint: SAM 3.0's network or 3.1's, as it says.

    Args:
        path: as :func:`maskstream.core.checkpoint.resolve_checkpoint` gives it.

    Raises:
        CheckpointError: the checkpoint cannot be read, or its tensors do not fit.
        ConfigError: its configuration contradicts itself.
    """
    tensors = read_tensors(path, (PREFIX,), dtype=dtype, device=device)
    config = read_config(path)["tracker_config"]
    model: TrackerModel | MultiplexModel
    with unfilled():
        if config.get("model_type") == MODEL_TYPE:
            model = MultiplexModel(MultiplexConfig.from_dict(config))
        else:
            model = TrackerModel(TrackerConfig.from_dict(config))
    context = f"tracker of {path}"
    expected = {PREFIX + name: shape for name, shape in shapes_of(model.state_dict()).items()}
    check_tensors(expected, shapes_of(tensors), context=context)  # named as in the file
    load_strict(model, under(tensors, PREFIX), context=context)
    return model.eval()
