"""A trained detector and tracker as a checkpoint folder that transformers reads too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskstream.core.checkpoint import under, write_folder
from maskstream.core.errors import CheckpointError
from maskstream.detector.checkpoint import to_checkpoint
from maskstream.detector.config import DetectorConfig
from maskstream.detector.model import Detector
from maskstream.tracker.build import PREFIX as TRACKER_PREFIX
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.model import TrackerModel
from training.config import read_yaml
from training.initialise import initialise_detector, initialise_tracker
from training.state import parameters_of
from training.tokenizer import load_fitted, tokenizer_files

MODEL_CARD = Path(__file__).parent / "model_card.md"


def load_averaged(model: nn.Module, run: Path, *, prefix: str = "") -> None:
    """Give a model the averaged parameters of a run, or those of a checkpoint.

    Args:
        model: what to fill.
        run: folder of the run or of the checkpoint.
        prefix: take only the parameters under this name.

    Raises:
        CheckpointError: there are none, or they are of another model.
    """
    values = under(parameters_of(run), prefix)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            stored = values.get(name)
            if stored is None or stored.shape != parameter.shape:
                raise CheckpointError(f"{run}: {prefix}{name} is missing or misshapen")
            parameter.copy_(stored)


def build_models(settings: dict[str, Any]) -> tuple[Detector, TrackerModel]:
    """Fresh models of a model YAML, initialised."""
    torch.manual_seed(0)
    detector = Detector(DetectorConfig.from_dict(settings["detector_config"]))
    initialise_detector(detector)
    tracker = TrackerModel(TrackerConfig.from_dict(settings["tracker_config"]))
    initialise_tracker(tracker)
    return detector, tracker


def _stored(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def export(
    model: Path,
    detector_run: Path | None,
    tracker_run: Path | None,
    destination: Path,
) -> Path:
    """Write the checkpoint folder, weights as float16: half the size, to be run in float32.

    Args:
        model: YAML of the model.
        detector_run: folder of the detector's run; None leaves the detector untrained.
        tracker_run: folder of the tracker's run, which trained the tracker's neck too; None
            leaves both untrained.
        destination: the folder to write or replace.
    """
    settings = read_yaml(model)
    detector, tracker = build_models(settings)
    if detector_run is not None:
        load_averaged(detector, detector_run)
    if tracker_run is not None:
        load_averaged(tracker, tracker_run, prefix="tracker.")
        load_averaged(detector.tracker_neck, tracker_run, prefix="neck.")
    detector_config = detector.config.to_dict()
    # Token ids that the model has no use for, but whoever reads the file with transformers.
    detector_config["text_config"] |= {
        name: value
        for name, value in settings["detector_config"]["text_config"].items()
        if name.endswith("_token_id")
    }
    config = {
        **settings,
        "dtype": "float32",
        "detector_config": detector_config,
        "tracker_config": tracker.config.to_dict(),
    }
    tensors = to_checkpoint(detector.state_dict())
    tensors |= {TRACKER_PREFIX + name: value for name, value in tracker.state_dict().items()}
    tensors = {name: _stored(value) for name, value in tensors.items()}
    files = tokenizer_files(load_fitted())
    files["README.md"] = MODEL_CARD.read_bytes()
    return write_folder(destination, config, tensors, files, overwrite=True)
