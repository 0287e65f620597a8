"""Real Redis servers for tests: private, on a free port, ended with the test."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.pipeline.ports import HOST, free_port


def program(name: str, package: str) -> str:
    """The path of a program that the tests cannot do without."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"these tests need {name}: apt-get install {package}", pytrace=False)
    return path


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class RedisServer:
    """Debian's ``redis-server``. ``start`` and ``kill`` may be called again and again."""

    def __init__(self, folder: Path, *options: str, tls: bool = False) -> None:
        self.port = free_port()
        port = ("--port", "0", "--tls-port") if tls else ("--port",)
        self.command = [
            program("redis-server", "redis-server"),
            *port,
            str(self.port),
            *("--bind", HOST, "--dir", str(folder), "--save", "", "--loglevel", "warning"),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        assert eventually(self._listens), "redis-server does not start"

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server has ended"
        with socket.socket() as line:
            return line.connect_ex((HOST, self.port)) == 0


@contextlib.contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


def raw_client(url: str) -> redis.Redis:
    """A client that writes what it likes, as a stranger would."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
