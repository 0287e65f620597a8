"""A runtime in a process of its own, as ``maskstream serve`` runs it, to be killed.

    python -m tests.faults.runtime_process URL [MAX_DEATHS]

Prints ``ready`` when it serves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from maskstream.pipeline.cli.serve import serve_until_stopped
from maskstream.pipeline.runtime import Runtime, RuntimeConfig
from maskstream.pipeline.store import open_store
from tests.integration.serving import CONFIG, KEY, LONG_S, RUNNER, faster

ROOT = Path(__file__).parents[2]


class RuntimeProcess:
    """The other end: starts one, waits until it serves, kills it with SIGKILL.

    Args:
        url: of the store.
        max_deaths: how often each of its workers may die; None is the usual number.
    """

    def __init__(self, url: str, max_deaths: int | None = None) -> None:
        arguments = [url] if max_deaths is None else [url, str(max_deaths)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (kill closes it)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.runtime_process", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        assert self._process.stdout is not None
        told = self._process.stdout.readline().strip()
        if told != "ready":
            self._errors.seek(0)
            raise AssertionError(f"the runtime does not start:\n{self._errors.read()}")

    def wait_for_end(self) -> tuple[int, list[str]]:
        """The exit code, and the lines of the log that are errors."""
        code = self._process.wait(LONG_S)
        self._errors.seek(0)
        return code, [line for line in self._errors if " ERROR " in line]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._errors.close()
        if self._process.stdout is not None:
            self._process.stdout.close()

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


def configured(max_deaths: int) -> RuntimeConfig:
    """Workers may die so often, and are not waited for long."""
    runner = replace(RUNNER, max_decoder_deaths=max_deaths, unresponsive_s=8.0)
    return faster(CONFIG, max_deaths=max_deaths, runner=runner)


def main() -> None:
    url, *rest = sys.argv[1:]
    store = open_store(url, secret_key=KEY)
    config = configured(int(rest[0])) if rest else CONFIG
    serve_until_stopped(Runtime(store, config, secret_key=KEY), store, ["ready"])


if __name__ == "__main__":
    main()
