"""How fast results come: frames a second and percentiles of the latency, of the newest few."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np

_WINDOW = 256
_FPS_WINDOW_S = 10.0


class Rates:
    """Notes when results were ready. One thread notes, any thread reads."""

    def __init__(self) -> None:
        self._ready: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def note(self, taken_s: float) -> None:
        """A result is ready.

        Args:
            taken_s: when its frame was taken, in seconds since 1970.
        """
        now_s = time.time()
        self._ready.append((now_s, max(0.0, now_s - taken_s)))

    def to_stats(self) -> dict[str, Any]:
        """``fps`` and ``latency_ms`` with p50, p95 and p99; JSON values."""
        rows = list(self._ready)
        if not rows:
            return {"fps": 0.0, "latency_ms": None}
        now_s = time.time()
        recent = [at_s for at_s, _ in rows if now_s - at_s <= _FPS_WINDOW_S]
        span_s = recent[-1] - recent[0] if len(recent) > 1 else 0.0
        latencies = np.percentile([latency_s * 1000 for _, latency_s in rows], (50, 95, 99))
        return {
            "fps": round((len(recent) - 1) / span_s, 2) if span_s > 0 else 0.0,
            "latency_ms": {
                name: round(float(value), 1)
                for name, value in zip(("p50", "p95", "p99"), latencies, strict=True)
            },
        }
