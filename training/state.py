"""State of a run on disk, so that it can go on where it stopped.

Tensors go into one safetensors file, numbers into JSON beside it; both are written under another
name and then renamed, so that an interruption leaves the former state whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from maskstream.core.checkpoint import read_tensors, under
from maskstream.core.checkpoint_folder import CONFIG_FILE
from maskstream.core.errors import CheckpointError
from maskstream.detector.checkpoint import PREFIXES, to_module
from maskstream.tracker.build import PREFIX as TRACKER_PREFIX

STATE_FILE = "state.safetensors"
AVERAGE = "average:"


@dataclass(slots=True)
class Averaged:
    """Exponential moving average of a model's parameters, by name."""

    decay: float
    values: dict[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module, decay: float) -> Averaged:
        """Start from the parameters as they are."""
        return cls(decay, {name: p.detach().clone() for name, p in model.named_parameters()})

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the parameters after ``step`` steps; early on the average is short."""
        decay = min(self.decay, (1 + step) / (10 + step))
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        current = dict(model.named_parameters())
        torch._foreach_lerp_(
            [self.values[name] for name in names],
            [current[name].detach() for name in names],
            1.0 - decay,
        )


def save_state(
    folder: Path,
    step: int,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    average: Averaged,
) -> None:
    """Write everything a run needs to go on after ``step`` steps."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            tensors[f"{prefix}:{name}"] = parameter.detach()
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}:{prefix}:{name}"] = value
    tensors |= {f"{AVERAGE}{name}": value for name, value in average.values.items()}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    draft = folder / f"{STATE_FILE}.part"
    save_file(contiguous, draft, metadata={"step": str(step)})
    os.replace(draft, folder / STATE_FILE)
    write_json(folder / "state.json", {"step": step})


def load_state(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    average: Averaged,
) -> int:
    """Restore what :func:`save_state` wrote; returns the number of steps done.

    Raises:
        CheckpointError: there is no state, or it is of another model.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: there is no run to resume")
    tensors = load_file(path)
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            stored = tensors.get(f"{prefix}:{name}")
            if stored is None or stored.shape != parameter.shape:
                raise CheckpointError(f"{path}: {prefix}:{name} is missing or misshapen")
            with torch.no_grad():
                parameter.copy_(stored)
            keys = ("step", "exp_avg", "exp_avg_sq")
            stems = {key: f"optimizer.{key}:{prefix}:{name}" for key in keys}
            if all(stem in tensors for stem in stems.values()):
                optimizer.state[parameter] = {key: tensors[stem] for key, stem in stems.items()}
    average.values = under(tensors, AVERAGE)
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return int(state["step"])


def parameters_of(*sources: Path, prefix: str = AVERAGE) -> dict[str, Tensor]:
    """Parameters that a run or a checkpoint folder holds, by their names in the run's module.

    A checkpoint's go by the names that they have in runs: those of the detector as in a detector's
    run, those of the tracker and its neck as in a tracker's. It has the averaged ones alone.

    Of several folders it is the mean, of what all of them hold in one shape. Where one was trained
    on from another, the mean can be better than either (Wortsman et al., 2022, "Model soups").

    Args:
        sources: folders of runs or of checkpoints, one or more.
        prefix: which, as in the run's file: by default the averaged ones of its model.

    Raises:
        CheckpointError: a folder holds neither a run nor a checkpoint, or damaged ones.
    """
    stored = [_stored_in(source, prefix) for source in sources]
    return {
        name: torch.stack([parameters[name] for parameters in stored]).mean(0)
        for name, first in stored[0].items()
        if all(name in other and other[name].shape == first.shape for other in stored)
    }


def _stored_in(source: Path, prefix: str) -> dict[str, Tensor]:
    if (source / STATE_FILE).is_file():
        return under(load_file(source / STATE_FILE), prefix)
    if not (source / CONFIG_FILE).is_file():
        raise CheckpointError(f"{source} holds neither a run ({STATE_FILE}) nor a checkpoint")
    if prefix != AVERAGE:
        return {}
    tensors = read_tensors(source, dtype=torch.float32)
    neck, tracker = under(tensors, "tracker_neck."), under(tensors, TRACKER_PREFIX)
    return (
        to_module({name: tensor for name, tensor in tensors.items() if name.startswith(PREFIXES)})
        | {f"neck.{name}": tensor for name, tensor in neck.items()}
        | {f"tracker.{name}": tensor for name, tensor in tracker.items()}
    )


def warm_start(sources: Sequence[Path], model: nn.Module, *, prefix: str = AVERAGE) -> list[str]:
    """Give a model what runs or checkpoints hold in the mean, where name and shape agree.

    Arguments and errors as for :func:`parameters_of`.

    Returns:
        Names of the parameters that were left as they are.
    """
    parameters = parameters_of(*sources, prefix=prefix)
    left = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            stored = parameters.get(name)
            if stored is None or stored.shape != parameter.shape:
                left.append(name)
            else:
                parameter.copy_(stored)
    return left


def write_json(path: Path, data: Any) -> None:
    """Write JSON whole or not at all."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path)


class RunLog:
    """One JSON object a line, in a file and on the terminal."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; numbers are rounded to five digits."""
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in record.items()}
        line = json.dumps(rounded)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)
