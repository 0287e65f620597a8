"""A runtime in a process of its own, to be killed: ``python -m tests.faults.runtime_process URL``.

Prints ``ready`` when it serves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import open_store
from tests.integration.serving import CONFIG, KEY

ROOT = Path(__file__).parents[2]


class RuntimeProcess:
    """The other end: starts one, waits until it serves, kills it with SIGKILL."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.runtime_process", url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def wait_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        self.wait_ready()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()


def main() -> None:
    store = open_store(sys.argv[1], secret_key=KEY)
    runtime = Runtime(store, CONFIG, secret_key=KEY)
    runtime.start()
    runtime.worker_pids()
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
