"""Epochs and gaps, found by comparing the time stamps of frames with the clock."""

from __future__ import annotations

from dataclasses import dataclass

from maskstream.pipeline.live.frames import Gap, GapCause


@dataclass(frozen=True, slots=True)
class Placed:
    """The epoch of a frame, the gap before it, and its pts or what that would be by the clock."""

    epoch: int
    gap: Gap | None
    time_s: float


class ForwardTimes:
    """Times of what is read to its end, such as a playlist whose parts each start at 0: where they
    go back, the next frame comes a frame's duration after the one before.
    """

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._step_s = 0.04
        self._offset_s = 0.0

    def place(self, pts_s: float | None) -> float | None:
        """The time of the next frame; frames come in the order in which they are shown."""
        if pts_s is None:
            return None
        time_s = pts_s + self._offset_s
        if self._last_s is not None and time_s <= self._last_s:
            self._offset_s += self._last_s + self._step_s - time_s
            time_s = self._last_s + self._step_s
        elif self._last_s is not None:
            self._step_s = time_s - self._last_s
        self._last_s = time_s
        return time_s


class Timeline:
    """Gives each frame its epoch and gap; frames come in decoding order.

    Time stamps are compared with the clock. After a pause of the stream both have advanced. Where
    the time stamps have gone back, or far ahead of the clock, they were reset: a new epoch begins.
    """

    def __init__(self, pts_jump_s: float, silence_gap_s: float) -> None:
        self._pts_jump_s = pts_jump_s
        self._silence_gap_s = silence_gap_s
        self._is_live = True
        self._start: GapCause | None = None
        self._is_first = True
        self._pts_s: float | None = None
        self._time_s = 0.0
        self._clock_s = 0.0
        self._size: tuple[int, int] | None = None
        self.epoch = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of the newest frame."""
        return self._size

    def begin(self, cause: GapCause, *, is_live: bool) -> None:
        """Note that the next frame comes from a new connection, or a new pass over a file.

        Args:
            cause: ``RECONNECT`` or ``LOOP``.
            is_live: the source sets the pace; otherwise the clock says nothing about gaps.
        """
        self._start = cause
        self._is_live = is_live

    def place(self, pts_s: float | None, clock_s: float, size: tuple[int, int]) -> Placed:
        """Place the next frame.

        Args:
            pts_s: its presentation time, or None.
            clock_s: monotonic time of its decoding.
            size: (width, height).
        """
        cause = None if self._is_first else self._cause(pts_s, clock_s, size)
        gap = None
        if cause is not None:
            lost_s = clock_s - self._clock_s if self._is_live and cause != GapCause.LOOP else 0.0
            # A jump or a new size loses no time, unless the clock shows that it does.
            is_break = cause == GapCause.RECONNECT or lost_s > self._silence_gap_s
            gap = Gap(0, lost_s if is_break else 0.0, (cause,))
            if cause != GapCause.SILENCE:
                self.epoch += 1
        self._is_first = False
        self._start = None
        if pts_s is not None or (cause is not None and cause != GapCause.SILENCE):
            self._pts_s = pts_s
        self._time_s = self._time_s + clock_s - self._clock_s if pts_s is None else pts_s
        self._clock_s, self._size = clock_s, size
        return Placed(self.epoch, gap, self._time_s)

    def _cause(self, pts_s: float | None, clock_s: float, size: tuple[int, int]) -> GapCause | None:
        if self._start is not None:
            return self._start
        if size != self._size:
            return GapCause.RESOLUTION
        if not self._is_live:
            return None
        elapsed_s = clock_s - self._clock_s
        if pts_s is None or self._pts_s is None:
            return GapCause.SILENCE if elapsed_s > self._silence_gap_s else None
        step_s = pts_s - self._pts_s
        if step_s < -self._pts_jump_s or step_s - elapsed_s > self._pts_jump_s:
            return GapCause.PTS_JUMP
        if min(step_s, elapsed_s) > self._silence_gap_s:
            return GapCause.SILENCE
        return None
