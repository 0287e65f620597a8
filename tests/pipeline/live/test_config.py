"""Options are checked when they are set."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from maskstream.core.errors import ConfigError
from maskstream.pipeline.live import LiveConfig, Region


@pytest.mark.parametrize(
    "options",
    [
        {"transport": "quic"},
        {"policy": "drop_newest"},
        {"open_timeout_s": 0},
        {"read_timeout_s": -1.0},
        {"stall_timeout_s": math.nan},
        {"backoff_min_s": math.inf},
        {"backoff_min_s": "1"},
        {"backoff_max_s": 0.1},
        {"backoff_jitter": 1.5},
        {"max_reconnect_s": 0},
        {"queue_size": 0},
        {"queue_size": 2.0},
        {"queue_size": True},
        {"every_nth": 0},
        {"target_fps": -5},
        {"every_nth": 2, "target_fps": 5.0},
        {"stale_after_s": 0.0},
        pytest.param({"allowed_schemes": frozenset({"rtsp", "concat"})}, id="a scheme too many"),
        {"allowed_roots": (Path("/no/such/folder"),)},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        LiveConfig(**options)


def test_options_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LiveConfig().queue_size = 3  # type: ignore[misc]


@pytest.mark.parametrize("corners", [(0, 0, 0, 1), (0.5, 0, 0.4, 1), (0, -0.1, 1, 1), (0, 0, 1, 2)])
def test_a_region_lies_in_the_picture(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ConfigError, match="region of interest"):
        Region(*corners)


def test_a_region_has_at_least_one_pixel() -> None:
    assert Region(0, 0, 1, 1).pixels(80, 48) == (0, 0, 80, 48)
    assert Region(0.25, 0.5, 0.75, 1).pixels(80, 48) == (20, 24, 60, 48)
    assert Region(0.999, 0.999, 1, 1).pixels(4, 4) == (3, 3, 4, 4)
    assert Region(0, 0, 1e-6, 1e-6).pixels(4, 4) == (0, 0, 1, 1)
