"""Which processes there are, and SIGKILL."""

from __future__ import annotations

import os
import signal

import psutil

from pipeline.runtime import Runtime
from tests.integration.serving import eventually


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def decoders() -> list[int]:
    """Process ids of the decode workers on this machine that this test process has started."""
    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "DecodeWorker" in _title(child)
    ]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


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
