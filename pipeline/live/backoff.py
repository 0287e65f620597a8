"""Back-off: how long to wait between attempts to connect."""

from __future__ import annotations

import random


class Backoff:
    """Gives pauses that double up to a limit, each shortened by a random part of itself."""

    def __init__(self, min_s: float, max_s: float, jitter: float, rng: random.Random) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._jitter = jitter
        self._rng = rng
        self._next_s = min_s

    def reset(self) -> None:
        """Start with the shortest pause again, after a connection that worked."""
        self._next_s = self._min_s

    def next_s(self) -> float:
        """The next pause in seconds."""
        pause_s = self._next_s
        self._next_s = min(self._max_s, 2 * pause_s)
        return pause_s * (1 - self._jitter * self._rng.random())
