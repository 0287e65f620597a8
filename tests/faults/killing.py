"""Which processes there are, and SIGKILL."""

from __future__ import annotations

import os
import signal

import psutil
from ray.exceptions import ActorDiedError

from maskstream.pipeline.runtime import Runtime
from maskstream.workers.faults import DEATHS
from tests.integration.serving import eventually


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def workers(kind: str, below: int | None = None) -> list[int]:
    """Process ids of the workers on this machine that a process has started.

    Args:
        kind: ``decode``, ``detect`` or ``track``.
        below: id of that process; None is this one.
    """
    title = f"{kind.capitalize()}Worker"
    children = psutil.Process(below).children(recursive=True)
    return [child.pid for child in children if _is_alive_as(title, child)]


def part_of_ray(name: str, below: int) -> int:
    """Process id of ``raylet`` or ``gcs_server`` of a process that has started Ray."""
    children = psutil.Process(below).children(recursive=True)
    [pid] = [child.pid for child in children if child.name() == name]
    return pid


def is_worker(pid: int) -> bool:
    """Whether there is such a process, and it is a worker of some runtime."""
    try:
        return _is_alive_as("Worker", psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def decoders() -> list[int]:
    """Process ids of the decode workers that this test process has started."""
    return workers("decode")


def _is_alive_as(title: str, process: psutil.Process) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and title in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended since it was listed
        return False


def is_given_up(runtime: Runtime) -> bool:
    """Whether a detect worker is not started any more."""
    try:
        runtime.worker_pids()
    except ActorDiedError:
        return True
    except DEATHS:  # Ray is starting it again
        pass
    return False


def detect_pids(runtime: Runtime) -> list[int]:
    """Of the detect workers, once all of them answer."""
    found: list[int] = []

    def look() -> bool:
        try:
            found[:] = runtime.worker_pids()["detect"]
        except DEATHS:  # Ray is starting one again
            return False
        return True

    eventually(look)
    return found


def one_pid(runtime: Runtime, kind: str) -> int:
    if kind == "decode":
        found: list[int] = []

        def look() -> bool:
            found[:] = decoders()
            return bool(found)

        eventually(look)
        return found[0]
    [pid] = runtime.worker_pids()[kind]
    return pid
