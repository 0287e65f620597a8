"""Threads that wait for each other do not collapse on a busy machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from maskstream.core import threads
from maskstream.core.threads import num_fitting, threads_settled, use_threads

OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
ALL = len(os.sched_getaffinity(0))


def set_by_import(given: dict[str, str]) -> dict[str, str]:
    """What ``import maskstream`` leaves in the environment of a fresh process."""
    inherited = {name: value for name, value in os.environ.items() if name not in OWN}
    code = (
        f"import json, maskstream, os; print(json.dumps([os.environ.get(name) for name in {OWN}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | given,
        check=True,
        capture_output=True,
        text=True,
    )
    found = dict(zip(OWN, json.loads(done.stdout), strict=True))
    return {name: value for name, value in found.items() if value is not None}


def test_threads_wait_awake_for_a_short_time_unless_the_user_has_said() -> None:
    assert set_by_import({}) == {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}
    for name, value in zip(OWN, ("PASSIVE", "7", "0"), strict=True):
        assert set_by_import({name: value}) == {name: value}


def test_this_process_has_it_too() -> None:
    assert set(OWN) & os.environ.keys()


@pytest.mark.parametrize(
    ("num_threads", "num_free", "fitting"),
    [
        (2, 2.0, 2),
        (2, 1.6, 2),
        (2, 1.4, 1),
        (2, 0.25, 1),
        (2, 0.0, 1),
        (16, 15.6, 16),
        (16, 4.0, 4),
        (8, 60.0, 8),
    ],
)
def test_as_many_threads_as_processors_are_free(
    num_threads: int, num_free: float, fitting: int
) -> None:
    assert num_fitting(num_threads, num_free) == fitting


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process begins that has said nothing of threads."""
    monkeypatch.setattr(threads, "_is_settled", False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(ALL)


@pytest.fixture
def busy() -> Iterator[None]:
    """Other programs take all processors."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * ALL)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def settle() -> int:
    with threads_settled():
        end_s = time.monotonic() + 0.4
        while time.monotonic() < end_s:
            pass
    return torch.get_num_threads()


@pytest.mark.usefixtures("unsettled", "busy")
def test_a_busy_machine_leaves_one_thread() -> None:
    assert settle() == 1
    # It was chosen once; what the program sets later holds.
    torch.set_num_threads(ALL)
    assert settle() == ALL


@pytest.mark.usefixtures("unsettled", "busy")
@pytest.mark.parametrize("how", ["environment", "use_threads", "torch"])
def test_a_number_that_somebody_has_set_is_kept(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = ALL + 3
    if how == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", str(ALL))
        number = ALL
    elif how == "use_threads":
        use_threads(number)
    else:
        torch.set_num_threads(number)
    assert settle() == number


@pytest.mark.usefixtures("unsettled")
def test_a_short_look_changes_nothing() -> None:
    with threads_settled():
        pass
    assert torch.get_num_threads() == ALL
