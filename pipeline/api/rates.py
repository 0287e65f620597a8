"""How fast results come: frames a second, and percentiles of the latency."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

_MAX_RESULTS = 256
_FPS_WINDOW_S = 10.0
_PERCENTILES = (50, 95, 99)


class Rates:
    """Frames a second and latencies of the newest results, 256 at most.

    ``fps`` counts the results of the last ten seconds. When there are fewer than two, it takes the
    newest two, so that slow results have a rate too, and one that falls while nothing comes.

    One thread notes results; any thread may read.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._ready_s: deque[float] = deque(maxlen=_MAX_RESULTS)
        self._latencies_ms: deque[float] = deque(maxlen=_MAX_RESULTS)

    def note(self, taken_s: float | None = None) -> None:
        """A result is ready.

        Args:
            taken_s: when its frame was taken, in seconds since 1970; None: it has no latency.
        """
        now_s = self._clock()
        self._ready_s.append(now_s)
        if taken_s is not None:
            self._latencies_ms.append(1000 * max(0.0, now_s - taken_s))

    @property
    def fps(self) -> float:
        """Results a second; 0 before the second result."""
        times = list(self._ready_s)
        now_s = self._clock()
        recent = [at_s for at_s in times if now_s - at_s <= _FPS_WINDOW_S]
        if len(recent) >= 2:
            span_s = recent[-1] - recent[0]
        elif len(times) >= 2:
            recent = times[-2:]
            span_s = max(recent[1] - recent[0], now_s - recent[1])
        else:
            return 0.0
        # Several may have come within one tick of the clock, or it may have been set back.
        return (len(recent) - 1) / span_s if span_s > 0 else 0.0

    @property
    def latency_ms(self) -> dict[str, float] | None:
        """``p50``, ``p95`` and ``p99`` in milliseconds; None before the first latency."""
        latencies = sorted(self._latencies_ms)
        if not latencies:
            return None
        return {f"p{part}": round(_percentile(latencies, part), 1) for part in _PERCENTILES}

    def to_stats(self) -> dict[str, Any]:
        """``fps`` and ``latency_ms`` as JSON values, for the ``stats`` of a session."""
        return {"fps": round(self.fps, 2), "latency_ms": self.latency_ms}


def _percentile(values: Sequence[float], part: int) -> float:
    """Of sorted values, linear between two of them, as numpy has it."""
    whole, rest = divmod((len(values) - 1) * part, 100)
    if not rest:
        return values[whole]
    return values[whole] + (values[whole + 1] - values[whole]) * rest / 100
