"""What is done to a build: its processes end, or its disk is full, at any moment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_ROOM = "200m"


@contextlib.contextmanager
def own_disk(folder: Path) -> Iterator[Path]:
    """A disk of its own below a folder; this process must be allowed to mount one."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "none", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill_up(disk: Path) -> None:
    """Leave next to no room on a disk."""
    room = shutil.disk_usage(disk).used + 4096
    subprocess.run(["mount", "-o", f"remount,size={room}", disk], check=True)


def make_room(disk: Path) -> None:
    """Undo ``fill_up``."""
    subprocess.run(["mount", "-o", f"remount,size={_ROOM}", disk], check=True)


class Driver:
    """``maskstream index build`` in a process of its own."""

    def __init__(self, videos: Path, index: Path, *options: str) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (finish closes it)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "maskstream", "index", "build", str(videos)),
                *("--out", str(index), "--max-deaths", "1000", *options),
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            text=True,
        )
        self._children: dict[int, psutil.Process] = {}

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def look(self) -> None:
        """Remember the processes that it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                self._children.setdefault(child.pid, child)

    def workers(self) -> list[psutil.Process]:
        """The processes that index."""
        return [one for one in self._living() if "IndexingActor" in " ".join(_words(one))]

    def kill(self, whom: str) -> bool:
        """End ``worker``, ``driver``, ``raylet`` or ``cluster``; False if there is none now."""
        self.look()
        victims: list[psutil.Process] = []
        if whom == "worker":
            victims = self.workers()[:1]
        elif whom == "raylet":
            victims = [one for one in self._living() if "raylet/raylet" in "".join(_words(one)[:1])]
        elif whom == "driver":
            victims = [psutil.Process(self._process.pid)]
        elif whom == "cluster":
            victims = [*self._living(), psutil.Process(self._process.pid)]
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        return bool(victims)

    def finish(self, timeout_s: float) -> tuple[int, str]:
        """Wait for its end, and that of all it has started; its exit code and errors."""
        code = self._process.wait(timeout_s)
        _, alive = psutil.wait_procs(self._living(), timeout_s)
        assert not alive, f"outlived the driver: {alive}"
        self._errors.seek(0)
        errors = self._errors.read()
        self._errors.close()
        return code, errors

    def _living(self) -> list[psutil.Process]:
        return [
            one
            for one in self._children.values()
            if one.is_running() and _status(one) != psutil.STATUS_ZOMBIE
        ]


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: what it is called.
        strike: does it; False if there is nobody to do it to at this moment.
        ends_build: the build ends with an error, and has to be started again.
    """

    name: str
    strike: Callable[[Driver, Path], bool]
    ends_build: bool


def _full_disk(driver: Driver, disk: Path) -> bool:
    fill_up(disk)
    return True


FAULTS = (
    Fault("kill worker", lambda driver, disk: driver.kill("worker"), False),
    Fault("kill driver", lambda driver, disk: driver.kill("driver"), True),
    Fault("kill raylet", lambda driver, disk: driver.kill("raylet"), True),
    Fault("kill cluster", lambda driver, disk: driver.kill("cluster"), True),
    Fault("full disk", _full_disk, True),
)


def _words(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    return words


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE
