"""Options, and which actors go where."""

from __future__ import annotations

from typing import Any

import pytest

from maskstream.core.errors import ConfigError
from maskstream.pipeline.runtime import ModelSpec, Placement, RuntimeConfig, place


@pytest.mark.parametrize(
    ("options", "num_gpus", "expected"),
    [
        ({}, 0, Placement(1, 0.0, 1, 0.0)),
        ({"num_detect_workers": 3, "num_track_workers": 2}, 0, Placement(3, 0.0, 2, 0.0)),
        ({"num_detect_workers": 0}, 0, Placement(0, 0.0, 1, 0.0)),
        ({"model": ModelSpec(device="cpu")}, 4, Placement(1, 0.0, 1, 0.0)),
        ({}, 1, Placement(0, 0.0, 1, 1.0)),
        ({"num_detect_workers": 1}, 1, Placement(1, 0.5, 1, 0.5)),
        ({}, 4, Placement(0, 0.0, 4, 1.0)),
        ({"num_detect_workers": 3}, 4, Placement(3, 1.0, 1, 1.0)),
        ({"num_detect_workers": 2, "num_track_workers": 4}, 4, Placement(2, 1.0, 4, 0.5)),
        # Each on one GPU: three on two GPUs are two on one of them.
        ({"num_track_workers": 3}, 2, Placement(0, 0.0, 3, 0.5)),
        # Spares have a tenth of each GPU between them.
        ({"spare_track_workers": 1}, 0, Placement(1, 0.0, 1, 0.0)),
        ({"spare_track_workers": 1}, 1, Placement(0, 0.0, 1, 0.9, 0.1)),
        ({"spare_track_workers": 3}, 2, Placement(0, 0.0, 2, 0.9, 0.05)),
        ({"spare_track_workers": 1, "num_detect_workers": 1}, 1, Placement(1, 0.45, 1, 0.45, 0.1)),
        ({"spare_track_workers": 1, "num_track_workers": 7}, 1, Placement(0, 0.0, 7, 0.1285, 0.1)),
    ],
)
def test_placement(options: dict[str, Any], num_gpus: int, expected: Placement) -> None:
    assert place(RuntimeConfig(**options), num_gpus) == expected


def test_more_detect_workers_than_gpus() -> None:
    with pytest.raises(ConfigError, match="there are 2 GPUs"):
        place(RuntimeConfig(num_detect_workers=2), 2)


@pytest.mark.parametrize(
    "options",
    [
        {"max_sessions": 0},
        {"lease_s": 0.0},
        {"death_window_s": float("inf")},
        {"num_track_workers": 0},
        {"num_detect_workers": -1},
        {"spare_track_workers": -1},
        {"object_store_bytes": 1000},
        {"max_retries_of_frame": -1},
        {"replace_timeout_s": 0.0},
        {"gcs_missing_s": -1.0},
        {"ray_answer_s": float("nan")},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        RuntimeConfig(**options)


def test_an_unknown_dtype() -> None:
    with pytest.raises(ConfigError, match="float64"):
        ModelSpec(dtype="float64")
