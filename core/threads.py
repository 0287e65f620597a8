"""How many threads torch computes with in a process that did not say.

On a CPU, torch shares each layer out among threads that wait for each other. Where other programs
use the processors too, all of them wait for the one that gets no turn, and more threads take longer
than one. So the number is chosen once, before the first frame, by what the processors have left.
It is not changed later: the last bits of results depend on it. How long threads wait awake for each
other is set in ``maskstream/__init__.py``, since it must be known before torch is imported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_MIN_WATCHED_S = 0.1
"""The system counts idle time in steps of 0.01 s, so that a shorter look says little."""

_is_settled = False


def use_threads(num_threads: int) -> None:
    """Compute with so many threads in this process, however busy the machine is."""
    global _is_settled
    _is_settled = True
    torch.set_num_threads(num_threads)


@contextmanager
def threads_settled() -> Iterator[None]:
    """Choose the number of threads by what the processors have to do while the block runs.

    Only the first block of a process chooses, and it takes at most as many threads as torch would.
    Nothing is changed where the environment names a number (``OMP_NUM_THREADS``), where the program
    has set one (``torch.set_num_threads``, ``use_threads``), and where the system does not tell how
    busy its processors are.
    """
    global _is_settled
    is_first = not _is_settled and not _is_set_by_user()
    _is_settled = True
    idle_s, own_s, begin_s = _idle_s() if is_first else None, time.process_time(), time.monotonic()
    yield
    watched_s = time.monotonic() - begin_s
    if idle_s is None or watched_s < _MIN_WATCHED_S:
        return
    free_s = (_idle_s() or idle_s) - idle_s + time.process_time() - own_s
    fitting = num_fitting(torch.get_num_threads(), free_s / watched_s)
    if fitting < torch.get_num_threads():
        torch.set_num_threads(fitting)


def num_fitting(num_threads: int, num_free: float) -> int:
    """The number of threads for so many free processors: at least 1, at most ``num_threads``."""
    return max(1, min(num_threads, int(num_free + 0.5)))


def _is_set_by_user() -> bool:
    """Whether somebody has chosen the number: torch's own is that of all processors or cores."""
    num_processors = len(_processors())
    own_choices = {num_processors, num_processors // 2}
    return any(name in os.environ for name in _BY_USER) or (
        torch.get_num_threads() not in own_choices
    )


def _processors() -> set[int]:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _idle_s() -> float | None:
    """Seconds for which those processors have had nothing to do; None where nobody counts them."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    names = {f"cpu{number}" for number in _processors()}
    rows = [line.split() for line in lines]
    counted = [row[1:] for row in rows if row and row[0] in names]
    if not any(int(ticks) for row in counted for ticks in row):
        return None  # sandboxes show a file of zeros
    # The fourth and fifth column: idle, and idle while waiting for a disk.
    return sum(int(row[3]) + int(row[4]) for row in counted) / os.sysconf("SC_CLK_TCK")
