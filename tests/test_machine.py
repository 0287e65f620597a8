"""The stopwatch of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.machine import Stopwatch


def test_it_never_runs_faster_than_the_clock() -> None:
    begin_s = time.monotonic()
    with Stopwatch() as watch:
        time.sleep(0.3)
    assert 0 < watch.seconds <= time.monotonic() - begin_s


@pytest.fixture
def one_processor() -> Iterator[None]:
    """For what this test starts from here on."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("one_processor")
def test_a_busy_machine_slows_it_down() -> None:
    burn = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(burn) for _ in range(3)]
    try:
        begin_s = time.monotonic()
        with Stopwatch() as watch:
            time.sleep(2)
        assert watch.seconds < 0.6 * (time.monotonic() - begin_s)
    finally:
        for process in busy:
            process.kill()
            process.wait()
