from __future__ import annotations

import pytest
import torch

from benchmarks.measure import side_by_side, speed_up, surroundings, timing
from benchmarks.model import report, table
from benchmarks.scenes import Scene, disc_masks

CPU = torch.device("cpu")


def test_functions_take_turns() -> None:
    calls: list[str] = []
    times = side_by_side(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        CPU,
        num_rounds=3,
        num_warm_up=1,
    )
    assert calls == ["a", "b"] * 4
    assert {name: len(rows) for name, rows in times.items()} == {"a": 3, "b": 3}


def test_speed_up_is_the_median_of_ratios_within_rounds() -> None:
    # The second round ran on a machine three times slower: both functions saw it.
    theirs, ours = [(4.0, 6.0), (12.0, 18.0), (5.0, 6.0)], [(1.0, 2.0), (3.0, 6.0), (1.0, 2.0)]
    assert speed_up(theirs, ours) == (4.0, 3.0)
    assert timing(theirs).wall_ms == 5.0


def test_results_say_where_they_come_from() -> None:
    facts = surroundings(CPU, torch.float32)
    assert facts["torch"] == torch.__version__
    assert facts["dtype"] == "float32"
    assert all(facts[key] for key in ("commit", "machine", "date", "transformers"))


def test_report() -> None:
    rows = [{"concepts": 1, "maskstream_ms": 2.5, "device_mb": None}]
    text = table(rows)
    assert text.splitlines() == ["| concepts | maskstream ms |", "| ---: | ---: |", "| 1 | 2.5 |"]
    assert text in report({"commit": "abc", "frame": rows})


@pytest.mark.parametrize("count", [1, 4, 64])
def test_discs_do_not_touch(count: int) -> None:
    masks = disc_masks(count, (80, 80)) > 0
    assert masks.shape == (count, 80, 80)
    assert masks.flatten(1).sum(1).min() > 16
    assert masks.sum(0).max() == 1


def test_scene_has_the_concepts_it_names() -> None:
    scene = Scene(64)
    assert scene.picture(3).shape == (64, 64, 3)
    texts = scene.texts(16, 4)
    assert len(texts) == 16
    assert set(texts[:4]) <= set(scene.present)
    assert not set(texts[4:]) & set(scene.present)
