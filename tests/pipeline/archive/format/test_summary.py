"""Tracks are what their observations add up to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from maskstream.pipeline.archive.format.summary import tracks_of
from maskstream.pipeline.archive.format.tables import MAX_PATH, OBSERVATIONS, TRACKS

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seen(frame: int, x: float, y: float = 0.5, **changed: Any) -> dict[str, Any]:
    box = {"x0": x - 0.1, "y0": y - 0.1, "x1": x + 0.1, "y1": y + 0.1}
    row = {"video_id": "v", "concept": "dog", "object_id": 1, "frame": frame, "pts_s": frame / 10}
    return row | box | {"score": 0.5, "area": 0.04, "x": x, "y": y, "rle": b""} | changed


def tracks(*rows: dict[str, Any], began: datetime | None = None) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(list(rows), schema=OBSERVATIONS)
    made = tracks_of(table, video_id="v", width=400, height=300, recorded_at=began)
    assert made.schema == TRACKS
    found: list[dict[str, Any]] = made.to_pylist()
    return found


def test_a_masklet_is_summed_up() -> None:
    (track,) = tracks(
        seen(20, 0.5, score=0.9), seen(10, 0.3, area=0.01), seen(40, 0.6), began=BEGAN
    )
    assert (track["first_frame"], track["last_frame"], track["num_observations"]) == (10, 40, 3)
    assert (track["start_s"], track["end_s"], track["duration_s"]) == (1.0, 4.0, 3.0)
    assert track["started_at"] == BEGAN + timedelta(seconds=1)
    assert track["mean_score"] == pytest.approx(1.9 / 3)
    assert (track["best_frame"], track["best_s"]) == (20, 2.0)
    assert [track["min_area"], track["max_area"]] == pytest.approx([0.01, 0.04])
    assert [track["move_x"], track["move_y"]] == pytest.approx([0.3, 0.0])
    # 120 of 500 pixels in 3 s; the faster step: 80 in 1 s.
    assert track["mean_speed"] == pytest.approx(120 / 500 / 3)
    assert track["max_speed"] == pytest.approx(80 / 500)
    assert [track[key] for key in ("x0", "y0", "x1", "y1")] == pytest.approx([0.2, 0.4, 0.7, 0.6])
    assert track["path_s"] == [1.0, 2.0, 4.0]


def test_the_best_of_equals_is_the_largest_then_the_first() -> None:
    (track,) = tracks(seen(1, 0.1), seen(2, 0.2, area=0.2), seen(3, 0.3, area=0.2))
    assert track["best_frame"] == 2


def test_a_single_observation_does_not_move() -> None:
    (track,) = tracks(seen(7, 0.4))
    assert (track["duration_s"], track["mean_speed"], track["max_speed"]) == (0, 0, 0)
    assert track["started_at"] is None


def test_long_paths_are_thinned_evenly() -> None:
    (track,) = tracks(*(seen(frame, 0.5) for frame in range(1000)))
    assert len(track["path_s"]) == MAX_PATH
    assert (track["path_s"][0], track["path_s"][-1]) == (0.0, 99.9)


def test_rows_are_sorted_and_none_is_lost() -> None:
    found = tracks(
        seen(9, 0.1, object_id=3),
        seen(2, 0.1, concept="cat", object_id=2),
        seen(1, 0.1, object_id=4),
        seen(3, 0.1, object_id=3),
    )
    assert [(one["concept"], one["object_id"]) for one in found] == [
        ("cat", 2),
        ("dog", 4),
        ("dog", 3),
    ]
    assert tracks() == []
