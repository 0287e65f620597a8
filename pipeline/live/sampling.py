"""Which frames to deliver when not all are wanted."""

from __future__ import annotations


class FrameSampler:
    """Every n-th frame, or at most so many a second.

    By rate, frames are due at fixed times of an even grid, so that 30 frames a second sampled to
    10 give every third and not every fourth: a grid does not add up its rounding.
    """

    def __init__(self, every_nth: int, target_fps: float | None) -> None:
        self._every_nth = every_nth
        self._interval_s = None if target_fps is None else 1 / target_fps
        self._epoch = -1
        self._origin_s = 0.0
        self._slot = -1

    def keeps(self, index: int, epoch: int, time_s: float) -> bool:
        """Whether to deliver a frame.

        Args:
            index: as counted by the decoder.
            epoch: a new one starts a new grid.
            time_s: its presentation time, or the clock where it has none.
        """
        if self._interval_s is None:
            return index % self._every_nth == 0
        if epoch != self._epoch or time_s < self._origin_s:
            self._epoch, self._origin_s, self._slot = epoch, time_s, 0
            return True
        # A thousandth of an interval forgives time stamps that were rounded down.
        slot = int((time_s - self._origin_s) / self._interval_s + 1e-3)
        if slot <= self._slot:
            return False
        self._slot = slot
        return True
