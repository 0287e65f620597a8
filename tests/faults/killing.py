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


def decoders() -> list[int]:
    """Process ids of the decode workers on this machine that this test process has started."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if _is_decoder(child)]


def _is_decoder(process: psutil.Process) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and "DecodeWorker" in " ".join(process.cmdline())
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
