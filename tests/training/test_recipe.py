from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from maskstream.core.errors import ConfigError
from maskstream.pipeline.video.model import VideoModel
from training.recipe import follow_recipe, load_recipe, steps_done
from training.state import STATE_FILE

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "configs" / "model" / "tiny.yaml")


def write_run(path: Path, steps: int, **stage: Any) -> str:
    stage = {"side": 64, "images": 1, "steps": steps, "freeze_backbone": True, **stage}
    path.write_text(
        yaml.safe_dump({"model": MODEL, "num_processes": 1, "stages": [stage]}), encoding="utf-8"
    )
    return str(path)


def write_recipe(folder: Path, tracker_steps: int = 1, **changes: Any) -> Path:
    detector = write_run(folder / "detector.yaml", 2, concepts=1)
    tracker = write_run(folder / "tracker.yaml", tracker_steps, frames=2)
    runs = [
        {"name": "first", "kind": "detector", "config": detector},
        {"name": "second", "kind": "detector", "config": detector, "warm": ["first"]},
        {"name": "follows", "kind": "tracker", "config": tracker, "detector": "second"},
    ]
    recipe = {"model": MODEL, "runs": runs, "detector": "second", "tracker": "follows", **changes}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def test_a_recipe_makes_a_checkpoint_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    follow_recipe(load_recipe(write_recipe(tmp_path)), runs, out)
    before = VideoModel.from_checkpoint(out).tracker.state_dict()
    finished = {name: (runs / name / STATE_FILE).stat().st_mtime_ns for name in ("first", "second")}

    follow_recipe(load_recipe(write_recipe(tmp_path, tracker_steps=2)), runs, out)
    assert steps_done(runs / "follows") == 2
    assert finished == {n: (runs / n / STATE_FILE).stat().st_mtime_ns for n in finished}
    after = VideoModel.from_checkpoint(out).tracker.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_recipe_of_the_embedded_checkpoint_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recipe = load_recipe(Path("training/configs/tiny.yaml"))
    assert recipe.model == "configs/model/tiny.yaml"
    for run in recipe.runs:
        assert Path(run.config).is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracker": "second"}, "tracker must be a tracker run"),
        ({"detector": "nowhere"}, r"made before \['first', 'second'\], not 'nowhere'"),
        ({"runs": [{"name": "a", "kind": "encoder", "config": "x"}]}, "kind must be one of"),
        (
            {"runs": [{"name": "a", "kind": "detector", "config": "x", "warm": ["b"]}]},
            "a: warm must be a detector run",
        ),
        (
            {"runs": [{"name": "a", "kind": "detector", "config": "x", "warm": "b"}]},
            "a: warm must be a list of runs",
        ),
        ({"runs": [{"name": "a", "kind": "tracker", "config": "x"}]}, "a: detector must be"),
        (
            {"runs": [{"name": "a", "kind": "detector", "config": "x", "detector": "b"}]},
            "detector goes with a tracker",
        ),
        ({"runs": [{"name": "a"}]}, "kind"),
    ],
)
def test_faults_of_a_recipe_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(write_recipe(tmp_path, **changes))
