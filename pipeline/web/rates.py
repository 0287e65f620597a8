"""How often a caller may ask: a bucket of tokens for each."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_BURST_S = 4.0
_MAX_CALLERS = 10_000


class RequestRates:
    """Counts the requests of each caller.

    The callers that were seen longest ago are forgotten, at 10,000 of them.

    Args:
        per_s: how many requests a second a caller may make on average; four times as many at once.
        clock: monotonic time in seconds.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Count a request; returns how long the caller must wait for it, 0 if it may go on."""
        now_s, most = self._clock(), max(1.0, self._per_s * _BURST_S)
        left, seen_s = self._buckets.pop(caller, (most, now_s))
        left = min(most, left + (now_s - seen_s) * self._per_s)
        is_allowed = left >= 1.0
        self._buckets[caller] = (left - 1.0 if is_allowed else left, now_s)
        if len(self._buckets) > _MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1.0 - left) / self._per_s
