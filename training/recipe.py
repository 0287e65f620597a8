"""A whole recipe: runs that build on one another, then the checkpoint, from one command.

Every run has a folder of its own below the recipe's. What is finished is passed over and what
stopped half-way is resumed, so that the same command, given again, goes on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from maskstream.core.config import from_mapping
from maskstream.core.errors import ConfigError
from training.config import RunConfig, load_run, read_yaml
from training.export import export
from training.parallel import run_team
from training.train_detector import DetectorWork
from training.train_tracker import TrackerWork

KINDS = ("detector", "tracker")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRun:
    """One run of a recipe; runs are told apart by their names."""

    name: str
    kind: str
    """"detector" or "tracker"."""
    config: str
    """Path of the run's YAML."""
    warm: tuple[str, ...] = ()
    """Runs whose averaged parameters, in the mean, it starts from."""
    detector: str | None = None
    """The run whose detector a tracker is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Runs in the order in which they are made, and those whose outcome is exported."""

    model: str
    """Path of the model's YAML."""
    runs: tuple[RecipeRun, ...]
    detector: str
    tracker: str


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ConfigError: the file is missing, a value does not suit its field, or a run builds on one
            that does not come before it.
    """
    data = read_yaml(path)
    runs = tuple(from_mapping(RecipeRun, item, f"{path}: runs") for item in data.pop("runs", []))
    recipe = from_mapping(Recipe, {**data, "runs": runs}, str(path))
    made: dict[str, str] = {}
    for run in runs:
        if run.kind not in KINDS:
            raise ConfigError(f"{path}: {run.name}: kind must be one of {KINDS}, not {run.kind!r}")
        # A single name would be taken for its letters.
        if not isinstance(run.warm, tuple):
            raise ConfigError(f"{path}: {run.name}: warm must be a list of runs, not {run.warm!r}")
        for name in run.warm:
            _check_made(path, made, name, run.kind, f"{run.name}: warm")
        if run.kind == "tracker":
            _check_made(path, made, run.detector or "", "detector", f"{run.name}: detector")
        elif run.detector is not None:
            raise ConfigError(f"{path}: {run.name}: detector goes with a tracker, not a detector")
        made[run.name] = run.kind
    for kind, chosen in (("detector", recipe.detector), ("tracker", recipe.tracker)):
        _check_made(path, made, chosen, kind, kind)
    return recipe


def _check_made(path: Path, made: dict[str, str], name: str, kind: str, where: str) -> None:
    if made.get(name) != kind:
        before = [run for run, its_kind in made.items() if its_kind == kind]
        raise ConfigError(
            f"{path}: {where} must be a {kind} run made before {before}, not {name!r}"
        )


def follow_recipe(recipe: Recipe, folder: Path, destination: Path) -> None:
    """Make all runs in ``folder``, or go on with them, and write the checkpoint."""
    for run in recipe.runs:
        config = load_run(Path(run.config))
        done = steps_done(folder / run.name)
        if done < config.total_steps:
            print(f"{run.name}: step {done} of {config.total_steps}", flush=True)
            train(
                config,
                folder / run.name,
                resume=done > 0,
                warm=tuple(folder / name for name in run.warm),
                detector=None if run.detector is None else folder / run.detector,
            )
    export(Path(recipe.model), folder / recipe.detector, folder / recipe.tracker, destination)


def steps_done(folder: Path) -> int:
    """Steps of a run that its folder holds; 0 where it was never begun."""
    path = folder / "state.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["step"]) if path.is_file() else 0


def train(
    config: RunConfig, out: Path, *, resume: bool, warm: tuple[Path, ...], detector: Path | None
) -> None:
    """Make one run in the folder ``out`` to its end.

    Args:
        config: the run's settings.
        out: folder of the run.
        resume: go on where it stopped.
        warm: folders of runs whose averaged parameters, in the mean, a fresh one starts from.
        detector: folder of the run whose detector a tracker is trained on; None trains a detector.
    """
    if detector is None:
        run_team(config.num_processes, DetectorWork(config, out, resume, warm))
    else:
        run_team(config.num_processes, TrackerWork(config, detector, out, resume, warm))
