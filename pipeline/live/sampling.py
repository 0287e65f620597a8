"""Sampling: which frames to deliver where not all are wanted."""

from __future__ import annotations

# A frame may arrive so early, as a part of the interval.
_EARLY = 0.75


class FrameSampler:
    """Keeps every n-th frame, or at most so many a second.

    By rate, the first frame in each interval of an even grid of times is kept: 30 frames a second
    sampled to 10 give every third. Intervals counted from the frame that was kept last would give
    every fourth where rounded time stamps come a little early.
    """

    def __init__(self, every_nth: int, target_fps: float | None) -> None:
        self._every_nth = every_nth
        self._interval_s = None if target_fps is None else 1 / target_fps
        self._epoch = -1
        self._origin_s = 0.0
        self._slot = -1

    def keeps(self, index: int, epoch: int, time_s: float, *, has_arrived: bool = False) -> bool:
        """Whether to deliver a frame.

        Args:
            index: as the decoder counts.
            epoch: a new epoch starts a new grid.
            time_s: its presentation time, or the time by the clock where it has none.
            has_arrived: the time is that of its arrival. Frames arrive early and late, and several
                at once after a pause; up to a second's worth of them makes up for the pause.
        """
        if self._interval_s is None:
            return index % self._every_nth == 0
        if epoch != self._epoch or time_s < self._origin_s:
            self._epoch, self._origin_s, self._slot = epoch, time_s, 0
            return True
        if has_arrived:
            return self._keeps_arrived(time_s - self._origin_s, self._interval_s)
        # Time stamps that were rounded down may come a thousandth of an interval early.
        slot = int((time_s - self._origin_s) / self._interval_s + 1e-3)
        if slot <= self._slot:
            return False
        self._slot = slot
        return True

    def _keeps_arrived(self, after_s: float, interval_s: float) -> bool:
        """Whether to keep a frame that arrived so long after the first."""
        if after_s < (self._slot + 1 - _EARLY) * interval_s:
            return False
        self._slot = max(self._slot + 1, int((after_s - 1) / interval_s))
        return True
