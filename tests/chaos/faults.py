"""What is done to a service: any of its processes ends, or hangs, at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.faults.killing import is_worker, part_of_ray, workers
from tests.faults.runtime_process import RuntimeProcess
from tests.pipeline.store.servers import RedisServer, running

ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")
NO_LIMIT = 1000
"""Of deaths: what is tried here is not that somebody gives up."""
FAULTS = (
    "kill decode",
    "kill detect",
    "kill track",
    "hang decode",
    "hang detect",
    "hang track",
    "kill driver",
    "kill raylet",
    "kill gcs_server",
    "kill redis",
)


class Service:
    """A Redis server that keeps its data on disk, and a runtime in a process of its own."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.url = server.url
        self._driver = self._new_driver()
        self._hung: list[int] = []

    def strike(self, fault: str, random: Random) -> bool:
        """Do one of ``FAULTS``; False if there is nobody to do it to at this moment."""
        verb, whom = fault.split()
        if whom == "driver":
            self._driver.kill()
            self._replace_driver()
            return True
        if whom in ("raylet", "gcs_server"):
            os.kill(part_of_ray(whom, self._driver.pid), signal.SIGKILL)
            code, errors = self._driver.wait_for_end()  # by itself: it has given up its sessions
            assert code == 1, errors
            self._driver.kill()
            self._replace_driver()
            return True
        if whom == "redis":
            self._server.kill()
            self._server.start()
            return True
        victims = sorted(workers(whom, self._driver.pid))
        if not victims:
            return False
        pid = random.choice(victims)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if verb == "kill" else signal.SIGSTOP)
            if verb == "hang":
                self._hung.append(pid)
        return True

    def close(self) -> None:
        """End it, and whatever still hangs."""
        self._driver.kill()
        self._end_hung()

    def _replace_driver(self) -> None:
        self._end_hung()
        self._driver = self._new_driver()

    def _end_hung(self) -> None:
        """End what is stopped, and so cannot notice that its Ray has ended."""
        for pid in self._hung:
            if is_worker(pid):
                os.kill(pid, signal.SIGKILL)
        self._hung.clear()

    def _new_driver(self) -> RuntimeProcess:
        driver = RuntimeProcess(self.url, NO_LIMIT)
        driver.wait_ready()
        return driver


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Service]:
    """A service, for as long as the context."""
    with (
        running(RedisServer(folder, *ON_DISK)) as server,
        contextlib.closing(Service(server)) as one,
    ):
        yield one
