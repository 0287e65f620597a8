"""What a soak says of its samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import label

from benchmarks.clip import coming_and_going, steady
from benchmarks.soak import COLUMNS, growth, plot


def samples(leak_mb: float) -> list[dict[str, float]]:
    """Memory that fills up in the warm-up, and then grows by so much over the rest."""
    rows = []
    for index in range(101):
        row = dict.fromkeys(COLUMNS, 100.0)
        row |= {"seconds": float(index), "frames": 200.0 * index}
        row["track_mb"] = 200.0 * min(index, 15) + leak_mb * index / 100
        rows.append(row)
    return rows


def test_only_what_grows_after_the_warm_up_counts() -> None:
    assert growth(samples(0.0))["track_mb"] == 0
    found = growth(samples(300.0))
    assert 100 < found["track_mb"] < 300
    assert found["detect_mb"] == 0


def test_the_plot_has_a_line_for_each(tmp_path: Path) -> None:
    plot(samples(50.0), tmp_path / "soak.png")
    with Image.open(tmp_path / "soak.png") as picture:
        blue = (np.asarray(picture) == (0x20, 0x50, 0xC0)).all(-1)
    assert blue.any(axis=1).sum() >= len(COLUMNS) - 2


def test_shapes_come_and_go() -> None:
    counts = [
        len(np.unique(coming_and_going(index, 96, 72).reshape(-1, 3), axis=0)) - 1
        for index in range(0, 80, 10)
    ]
    assert max(counts) >= 2
    assert np.array_equal(coming_and_going(0, 96, 72), coming_and_going(80, 96, 72))


def test_five_shapes_stay_apart() -> None:
    for index in range(0, 80, 10):
        assert label((steady(index, 320, 240) != 120).any(-1))[1] == 5
