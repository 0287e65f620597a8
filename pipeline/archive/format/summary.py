"""The tracks table out of observations: what is known of each masklet as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from maskstream.pipeline.archive.format.tables import MAX_PATH, TRACKS

_KEY = ("concept", "object_id")
_ORDER = [("concept", "ascending"), ("object_id", "ascending"), ("frame", "ascending")]
_COLUMNS = ("frame", "pts_s", "score", "area", "x", "y", "x0", "y0", "x1", "y1")


def tracks_of(
    observations: pa.Table,
    *,
    video_id: str,
    width: int,
    height: int,
    recorded_at: datetime | None,
) -> pa.Table:
    """Summarise the observations of one video.

    Args:
        observations: rows of the observations table, all or as many as there are yet, in any order.
        video_id: the video that they are of.
        width: of the displayed frame in pixels; speeds are measured along its diagonal.
        height: as ``width``.
        recorded_at: when the recording began; None if unknown.

    Returns:
        A table of the schema ``TRACKS``, sorted as the schema asks.
    """
    rows = [
        {
            "video_id": video_id,
            "started_at": None
            if recorded_at is None
            else recorded_at + timedelta(seconds=float(seen["pts_s"][0])),
            "concept": concept,
            "object_id": object_id,
            **_summary(seen, width, height),
        }
        for concept, object_id, seen in _masklets(observations)
    ]
    rows.sort(key=lambda row: (row["concept"], row["start_s"], row["object_id"]))
    return pa.Table.from_pylist(rows, schema=TRACKS)


def _masklets(observations: pa.Table) -> Iterator[tuple[str, int, dict[str, NDArray[Any]]]]:
    """Each masklet's concept and id, and its columns in the order of frames."""
    ordered = observations.select([*_KEY, *_COLUMNS]).sort_by(_ORDER)
    concepts, ids = (ordered[name].to_pylist() for name in _KEY)
    columns = {name: ordered[name].to_numpy() for name in _COLUMNS}
    first = 0
    for last in range(1, len(ids) + 1):
        if last < len(ids) and (ids[last], concepts[last]) == (ids[first], concepts[first]):
            continue
        yield concepts[first], ids[first], {key: one[first:last] for key, one in columns.items()}
        first = last


def _summary(seen: dict[str, NDArray[Any]], width: int, height: int) -> dict[str, Any]:
    times, frames = seen["pts_s"], seen["frame"]
    length, top_speed = _motion(seen, width, height)
    duration_s = float(times[-1] - times[0])
    best = int(np.lexsort((frames, -seen["area"], -seen["score"]))[0])
    path = np.unique(
        np.linspace(0, len(frames) - 1, min(len(frames), MAX_PATH)).round().astype(int)
    )
    return {
        "first_frame": int(frames[0]),
        "last_frame": int(frames[-1]),
        "start_s": float(times[0]),
        "end_s": float(times[-1]),
        "duration_s": duration_s,
        "num_observations": len(frames),
        "mean_score": float(seen["score"].mean(dtype=np.float64)),
        "best_score": float(seen["score"].max()),
        "mean_area": float(seen["area"].mean(dtype=np.float64)),
        "min_area": float(seen["area"].min()),
        "max_area": float(seen["area"].max()),
        "mean_speed": length / duration_s if duration_s > 0 else 0.0,
        "max_speed": top_speed,
        "move_x": float(seen["x"][-1]) - float(seen["x"][0]),
        "move_y": float(seen["y"][-1]) - float(seen["y"][0]),
        "best_frame": int(frames[best]),
        "best_s": float(times[best]),
        "x0": float(seen["x0"].min()),
        "y0": float(seen["y0"].min()),
        "x1": float(seen["x1"].max()),
        "y1": float(seen["y1"].max()),
        "path_s": times[path].tolist(),
        "path_x": seen["x"][path].tolist(),
        "path_y": seen["y"][path].tolist(),
    }


def _motion(seen: dict[str, NDArray[Any]], width: int, height: int) -> tuple[float, float]:
    """The length of the path in diagonals, and its fastest step in diagonals a second."""
    x = seen["x"].astype(np.float64) * width
    y = seen["y"].astype(np.float64) * height
    steps = np.hypot(np.diff(x), np.diff(y)) / np.hypot(width, height)
    times = np.diff(seen["pts_s"])
    timed = times > 0
    top_speed = float((steps[timed] / times[timed]).max()) if timed.any() else 0.0
    return float(steps.sum()), top_speed
