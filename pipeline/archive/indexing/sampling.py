"""Which frames of a video are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from maskstream.pipeline.archive.format.records import Sampling


class FrameSampler:
    """Decides frame by frame, in order. Its state goes from chunk to chunk.

    By rate, the first frame at or after each tick of an even grid is kept. The grid begins with the
    range of times if one is given, else with the video's first frame.

    Args:
        sampling: which frames are wanted.
        begin_s: time of the video's first frame.
    """

    def __init__(self, sampling: Sampling, begin_s: float) -> None:
        self._sampling = sampling
        self._origin_s = begin_s if sampling.start_s is None else sampling.start_s
        self._tick = -1

    def is_past(self, time_s: float) -> bool:
        """Whether the range of times ends before a frame."""
        end_s = self._sampling.end_s
        return end_s is not None and time_s >= end_s

    def keeps(self, index: int, time_s: float, is_keyframe: bool) -> bool:
        """Whether a frame is looked at.

        Args:
            index: as the source counts.
            time_s: its presentation time.
            is_keyframe: decoding can start at it.
        """
        wanted = self._sampling
        if wanted.start_s is not None and time_s < wanted.start_s:
            return False
        if wanted.fps is not None:
            return self._reaches_tick(time_s, wanted.fps)
        if wanted.keyframes:
            return is_keyframe
        return wanted.every_nth is None or index % wanted.every_nth == 0

    def _reaches_tick(self, time_s: float, fps: float) -> bool:
        # Time stamps that were rounded down may come a thousandth of an interval early.
        tick = math.floor((time_s - self._origin_s) * fps + 1e-3)
        if tick <= self._tick:
            return False
        self._tick = tick
        return True

    def to_state(self) -> dict[str, Any]:
        """JSON values; ``load_state`` undoes it."""
        return {"tick": self._tick}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where ``to_state`` was called."""
        self._tick = int(state["tick"])
