"""Limits how often a worker may die before its session or pool gives up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class RestartBudget:
    """Allows a number of deaths within a sliding window of time.

    Args:
        max_deaths: number of deaths allowed within the window.
        window_s: length of the window in seconds.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, max_deaths: int, window_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_deaths = max_deaths
        self._window_s = window_s
        self._clock = clock
        self._deaths: deque[float] = deque()
        self.num_deaths = 0

    def note_death(self) -> bool:
        """Count a death; returns whether another restart is allowed."""
        now = self._clock()
        self.num_deaths += 1
        self._deaths.append(now)
        while self._deaths[0] <= now - self._window_s:
            self._deaths.popleft()
        return len(self._deaths) <= self._max_deaths

    def __str__(self) -> str:
        return f"{len(self._deaths)} times within {self._window_s:g} s"
