"""What a runtime takes for its own end, and what it waits for."""

from __future__ import annotations

import pytest

from maskstream.core.errors import RuntimeFailedError
from maskstream.pipeline.runtime.vitals import Vitals

TURN_S = 60.0


class Watched:
    """Vitals of a made-up Ray, and a clock that is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.missing: str | None = None
        self.vitals = Vitals(lambda: self.missing, {"GCS": 10.0}, TURN_S, lambda: self.now_s)

    def after(self, seconds: float) -> str | None:
        """What is found, looking twice a second."""
        fault = None
        for _ in range(int(seconds * 2)):
            self.now_s += 0.5
            fault = fault or self.vitals.find_fault()
        return fault


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_supervisor_that_goes_on_is_well(watched: Watched) -> None:
    for _ in range(10):
        assert watched.after(TURN_S - 1) is None
        watched.vitals.note_turn()


def test_a_supervisor_that_hangs_is_given_so_long(watched: Watched) -> None:
    assert watched.after(TURN_S - 1) is None
    assert watched.after(1) == "Ray has not answered for 60 s"


def test_waiting_for_the_store_is_no_hanging(watched: Watched) -> None:
    with watched.vitals.waiting_for_store():
        assert watched.after(10 * TURN_S) is None
    assert watched.after(TURN_S - 1) is None


def test_a_machine_that_was_asleep_is_given_time_anew(watched: Watched) -> None:
    watched.now_s += 10 * TURN_S
    assert watched.vitals.find_fault() is None
    assert watched.after(TURN_S - 1) is None


def test_a_raylet_does_not_come_back(watched: Watched) -> None:
    watched.missing = "raylet"
    assert watched.after(1) is None
    assert watched.after(1) == "raylet is gone"


def test_a_gcs_may_come_back(watched: Watched) -> None:
    for _ in range(3):
        watched.missing = "GCS"
        assert watched.after(9.5) is None
        watched.missing = None
        assert watched.after(2) is None
        watched.vitals.note_turn()
    watched.missing = "GCS"
    assert watched.after(11.5) == "GCS is gone"


def test_an_error_of_the_supervisor_is_the_end(watched: Watched) -> None:
    watched.vitals.fail(ZeroDivisionError("division of rtsp://bob:hunter2@camera by zero"))
    fault = watched.vitals.find_fault()
    assert fault is not None
    assert fault.startswith("its supervisor has failed: ZeroDivisionError: division")
    assert "hunter2" not in fault
    watched.vitals.fail(RuntimeFailedError("no worker can be started"))
    assert watched.vitals.find_fault() == "no worker can be started"
