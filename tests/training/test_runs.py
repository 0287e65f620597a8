from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from maskstream.core.errors import CheckpointError, ConfigError
from training.config import load_run, read_yaml
from training.parallel import Team
from training.state import (
    Averaged,
    RunLog,
    load_state,
    parameters_of,
    save_state,
    warm_start,
)

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def stepped(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: Averaged, seed: int
) -> None:
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(inputs).square().sum().backward()
    optimizer.step()
    average.update(model, seed)


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    average = Averaged.of(model, 0.9)
    for seed in range(3):
        stepped(model, optimizer, average, seed)
    save_state(tmp_path, 3, {"model": model}, optimizer, average)
    stepped(model, optimizer, average, 3)

    other = nn.Linear(3, 2)
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=0.01)
    other_average = Averaged.of(other, 0.9)
    assert load_state(tmp_path, {"model": other}, other_optimizer, other_average) == 3
    stepped(other, other_optimizer, other_average, 3)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(average.values["weight"], other_average.values["weight"])


def test_resuming_nothing_or_another_model_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    average = Averaged.of(model, 0.9)
    with pytest.raises(CheckpointError, match="no run to resume"):
        load_state(tmp_path, {"model": model}, optimizer, average)
    save_state(tmp_path, 1, {"model": model}, optimizer, average)
    with pytest.raises(CheckpointError, match="misshapen"):
        load_state(tmp_path, {"model": nn.Linear(3, 4)}, optimizer, average)
    wider = nn.Linear(3, 4)
    assert warm_start([tmp_path], wider) == ["weight", "bias"]


def test_a_start_from_several_runs_is_their_mean(tmp_path: Path) -> None:
    models = [nn.Linear(3, 2) for _ in range(2)]
    for name, model in zip(("first", "second"), models, strict=True):
        optimizer = torch.optim.AdamW(model.parameters())
        save_state(tmp_path / name, 1, {"model": model}, optimizer, Averaged.of(model, 0.9))
    wide = nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(wide.parameters())
    save_state(tmp_path / "wide", 1, {"model": wide}, optimizer, Averaged.of(wide, 0.9))

    started = nn.Linear(3, 2)
    assert warm_start([tmp_path / "first", tmp_path / "second"], started) == []
    for name, value in started.named_parameters():
        one, other = (model.get_parameter(name) for model in models)
        assert torch.allclose(value, (one + other) / 2)
    # What not all of them hold in one shape has no mean.
    assert parameters_of(tmp_path / "wide", tmp_path / "first") == {}


def test_log_is_one_json_object_a_line(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run" / "log.jsonl")
    log.write({"step": 1, "loss": 0.123456789})
    log.write({"step": 2, "loss": 0.1})
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"step": 1, "loss": 0.12346}
    assert json.loads(lines[1])["step"] == 2


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("tiny_*.yaml")))
def test_the_runs_of_the_recipe_are_valid(name: str) -> None:
    config = load_run(CONFIGS / name)
    assert config.total_steps > 0
    assert all(stage.side % 64 == 0 for stage in config.stages)
    assert all(len(stage.prompts) == 3 for stage in config.stages)
    assert "detector_config" in read_yaml(CONFIGS.parents[1] / config.model)


def test_unknown_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: m\nstages: []\nlearning_rate: 1\n")
    with pytest.raises(ConfigError, match="learning_rate"):
        load_run(path)
    with pytest.raises(ConfigError, match="does not exist"):
        load_run(tmp_path / "none.yaml")


def test_alone_a_team_leaves_gradients_as_they_are() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    Team().average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]


def test_a_stage_with_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: m\nstages: [{side: 64, images: 1, steps: 1, frames: 1}]\n")
    with pytest.raises(ConfigError, match="the first of prompts must be 0"):
        load_run(path)
