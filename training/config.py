"""Settings of the training runs, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from maskstream.core.config import from_mapping
from maskstream.core.errors import ConfigError
from training.losses import LossWeights
from training.tracker_losses import TrackerLossWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of a run at one image size."""

    side: int
    """Image side in pixels, a multiple of four patches."""
    images: int
    """Frames (detector) or clips (tracker) in the batch of one process."""
    steps: int
    concepts: int = 4
    """Concepts asked of each frame."""
    texts: int = 0
    """Texts that the image's cells are aligned with, for the whole batch of one process."""
    dense_only: bool = False
    """Train image and text encoder alone, by read-outs and alignment; the detector's only."""
    freeze_backbone: bool = False
    """Leave the ViT as it is, so that a tracker can be trained on it meanwhile."""
    frames: int = 8
    """Frames of a clip; the tracker's only, as the next seven."""
    objects: int = 4
    """Most objects to follow in a clip."""
    hiding_rate: float = 0.5
    """Share of the clips that are drawn until an object goes out of sight in them."""
    nameless_rate: float = 0.0
    """Share of the clips in which nothing has a name; else it is a few things here and there."""
    prompts: tuple[float, ...] = (0.6, 0.25, 0.15)
    """How often the first frame is prompted by masks, by clicks and by boxes."""
    correction_rate: float = 0.45
    """How often a click is followed by another one where the answer is wrong."""
    center_rate: float = 0.0
    """How often a click is in the middle of what it means, as people click, not anywhere in it."""
    freeze_neck: bool = False
    """Leave the tracker's branch of the neck as it is."""
    peak_lr: float = 8e-4
    final_lr: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a stage that has nothing to learn from."""
        if self.frames == 1 and self.prompts[0] > 0:
            raise ConfigError(
                "a first frame whose mask is given is not asked for: with frames: 1 the first of "
                "prompts must be 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A training run: stages one after another, each with its own cosine."""

    model: str
    """Path of the model's YAML."""
    stages: tuple[Stage, ...]
    seed: int = 0
    device: str = "auto"
    """"auto" takes the GPU where there is one; else as torch names it."""
    num_processes: int = 2
    """Processes that share each batch, one thread each: threads of one process would wait for
    each other at every layer, processes wait once a step. On a GPU it is one."""
    mixed_precision: bool = True
    """Run the model in bfloat16 where that is safe, and the processor made for it."""
    warmup_steps: int = 150
    weight_decay: float = 0.05
    encoder_lr_factor: float = 0.5
    """Learning rate of the vision encoder relative to the rest."""
    max_grad_norm: float = 1.0
    ema_decay: float = 0.998
    exemplar_rate: float = 0.2
    """Share of concepts given by exemplars alone."""
    dense_weight: float = 0.5
    """Weight of the dense supervision of the image encoder."""
    log_every: int = 25
    save_every: int = 250
    validate_every: int = 500
    validation_batches: int = 12
    loss: LossWeights = field(default_factory=LossWeights)
    """The detector's."""
    tracker_loss: TrackerLossWeights = field(default_factory=TrackerLossWeights)

    @property
    def torch_device(self) -> torch.device:
        """The device that is meant."""
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def autocasts(self) -> bool:
        """Whether the model runs in bfloat16. Without AVX-512 that takes seven times as long."""
        is_slow = self.torch_device.type == "cpu" and (
            torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")
        )
        return self.mixed_precision and not is_slow

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[int, int]:
        """Number of the stage that ``step`` falls in, and the step's number within it."""
        for index, stage in enumerate(self.stages):
            if step < stage.steps:
                return index, step
            step -= stage.steps
        raise ConfigError(f"the run has {self.total_steps} steps only")


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping out of a YAML file.

    Raises:
        ConfigError: no such file, or it holds no mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; give the path of a YAML file")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping")
    return data


def load_run(path: Path) -> RunConfig:
    """Read a run's settings.

    Raises:
        ConfigError: the file is missing, or a value does not suit its field.
    """
    data = read_yaml(path)
    unknown = set(data) - set(RunConfig.__dataclass_fields__)
    if unknown:
        raise ConfigError(f"{path}: unknown settings {sorted(unknown)}")
    where = str(path)
    stages = tuple(from_mapping(Stage, item, f"{where}: stages") for item in data.pop("stages", []))
    loss = from_mapping(LossWeights, data.pop("loss", {}), f"{where}: loss")
    tracked = data.pop("tracker_loss", {})
    tracker_loss = from_mapping(TrackerLossWeights, tracked, f"{where}: tracker_loss")
    parts = {"stages": stages, "loss": loss, "tracker_loss": tracker_loss}
    return from_mapping(RunConfig, {**data, **parts}, where)
