"""Frames a second and latencies, against numpy and on a clock that is set by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskstream.pipeline.api.rates import Rates


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(clock: Clock) -> Rates:
    return Rates(clock)


def test_nothing_yet(rates: Rates) -> None:
    assert rates.to_stats() == {"fps": 0.0, "latency_ms": None}
    rates.note()
    assert rates.to_stats() == {"fps": 0.0, "latency_ms": None}


def test_frames_a_second_of_the_last_ten_seconds(rates: Rates, clock: Clock) -> None:
    for _ in range(50):
        clock.advance(0.5)
        rates.note()
    assert rates.fps == pytest.approx(2.0)
    for _ in range(40):
        clock.advance(0.25)
        rates.note()
    assert rates.fps == pytest.approx(4.0)


def test_slow_results_have_a_rate_that_falls_while_nothing_comes(
    rates: Rates, clock: Clock
) -> None:
    for _ in range(3):
        clock.advance(20)
        rates.note()
    assert rates.fps == pytest.approx(1 / 20)
    clock.advance(100)
    assert rates.fps == pytest.approx(1 / 100)
    assert rates.to_stats()["fps"] == 0.01


def test_a_clock_that_stands_still_or_is_set_back(rates: Rates, clock: Clock) -> None:
    rates.note(clock.now_s)
    rates.note(clock.now_s)
    assert rates.fps == 0.0
    clock.advance(-5)
    rates.note(clock.now_s + 3)
    assert rates.to_stats() == {"fps": 0.0, "latency_ms": {"p50": 0.0, "p95": 0.0, "p99": 0.0}}


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300))
def test_percentiles_are_those_of_numpy_over_the_newest_256(latencies_s: list[float]) -> None:
    clock = Clock()
    rates = Rates(clock)
    for latency_s in latencies_s:
        rates.note(clock.now_s - latency_s)
    found = rates.latency_ms
    assert found is not None
    kept = [(clock.now_s - (clock.now_s - latency_s)) * 1000 for latency_s in latencies_s][-256:]
    expected = np.percentile(kept, (50, 95, 99))
    assert list(found) == ["p50", "p95", "p99"]
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=0.051)
