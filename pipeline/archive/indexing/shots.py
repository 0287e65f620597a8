"""Finds the cuts between shots, from small copies of all frames that are decoded.

A cut is where a frame differs from the one before it by much, and by much more than the frames
before it did: fast movement differs by much all the time. Dissolves are not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from maskstream.pipeline.archive.format.tables import SHOTS

THUMBNAIL = (48, 27)
"""Width and height of the small copies."""

_LEAST_CHANGE = 22.0
"""Of 255, the mean difference over all pixels and colours."""
_LEAST_RATIO = 3.0
_REMEMBERED = 8
_SHORTEST_S = 0.4
"""A flash is two changes; the second is no cut."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A frame at which a shot begins, or the video ends: its number and its time in seconds."""

    frame: int
    time_s: float


class CutFinder:
    """Looks at the frames of a video in order. Its state goes from chunk to chunk."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._changes: list[float] = []
        self._starts: list[Bound] = []
        self._ends: list[Bound] = []
        self._last: Bound | None = None

    def look(self, thumbnail: NDArray[np.uint8], frame: int, time_s: float) -> bool:
        """Take the next frame; returns whether a shot begins with it (not for the first frame).

        Args:
            thumbnail: (27, 48, 3) uint8 RGB.
            frame: its number.
            time_s: its presentation time.
        """
        here, before = Bound(frame, time_s), self._before
        self._before = thumbnail
        if before is None:
            self._starts.append(here)
            self._last = here
            return False
        change = float(np.abs(thumbnail.astype(np.int16) - before).mean())
        usual = sum(self._changes) / len(self._changes) if self._changes else 0.0
        self._changes = [*self._changes, change][-_REMEMBERED:]
        is_cut = (
            change >= _LEAST_CHANGE
            and change >= _LEAST_RATIO * usual
            and (len(self._starts) == 1 or time_s - self._starts[-1].time_s >= _SHORTEST_S)
        )
        if is_cut and self._last is not None:
            self._ends.append(self._last)
            self._starts.append(here)
        self._last = here
        return is_cut

    def to_table(self, video_id: str) -> pa.Table:
        """The shots so far, as a table of the schema ``SHOTS``."""
        ends = [*self._ends, *([] if self._last is None else [self._last])]
        rows = [
            {
                "video_id": video_id,
                "shot": number,
                "first_frame": start.frame,
                "last_frame": end.frame,
                "start_s": start.time_s,
                "end_s": end.time_s,
            }
            for number, (start, end) in enumerate(zip(self._starts, ends, strict=True))
        ]
        return pa.Table.from_pylist(rows, schema=SHOTS)

    def to_state(self) -> dict[str, Any]:
        """Tensors and JSON values; ``load_state`` undoes it."""
        return {
            "before": None if self._before is None else torch.from_numpy(self._before.copy()),
            "changes": self._changes,
            "starts": [[one.frame, one.time_s] for one in self._starts],
            "ends": [[one.frame, one.time_s] for one in self._ends],
            "last": None if self._last is None else [self._last.frame, self._last.time_s],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where ``to_state`` was called."""
        self._before = None if state["before"] is None else state["before"].numpy()
        self._changes = [float(one) for one in state["changes"]]
        self._starts = [Bound(int(frame), float(time)) for frame, time in state["starts"]]
        self._ends = [Bound(int(frame), float(time)) for frame, time in state["ends"]]
        last = state["last"]
        self._last = None if last is None else Bound(int(last[0]), float(last[1]))
