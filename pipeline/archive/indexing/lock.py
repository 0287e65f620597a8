"""One build on an index at a time.

Whoever builds holds ``lock.json`` and writes a new number into it every few seconds. A lock whose
number stands still for ``lease_s``, or whose process on this machine is gone, belongs to nobody.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from typing import Any

from maskstream.core.closing import Closing
from maskstream.core.errors import ArchiveError, IndexBusyError
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.storage import Storage

_BEAT_S = 2.0
_LEASE_S = 20.0
_LOOK_S = 0.2
_HELD: set[str] = set()
"""The tokens of this process. A lock that it could not delete, on a full disk, has none of them."""


class BuildLock(Closing):
    """Holds the lock of an index until it is closed.

    Args:
        storage: of the index.
        path: the file that is the lock; compacting has one of its own.
        wait_s: how long to wait for another build to end, in seconds.
        lease_s: how long the number in a lock of another machine must stand still until it counts
            as left behind.
        beat_s: how often a new number is written.

    Attributes:
        is_lost: another build has taken the lock, since this one was silent for too long. What this
            one still writes does no harm, but it should end.

    Raises:
        IndexBusyError: another process builds on the index.
        ArchiveError: the lock cannot be written.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        path: str = layout.LOCK,
        wait_s: float = 0.0,
        lease_s: float = _LEASE_S,
        beat_s: float = _BEAT_S,
    ) -> None:
        self._storage = storage
        self._path = path
        self._token = uuid.uuid4().hex
        self._beat_s = beat_s
        self._number = 0
        self.is_lost = False
        _HELD.add(self._token)
        try:
            self._acquire(wait_s, lease_s)
        except BaseException:
            _HELD.discard(self._token)
            raise
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="index-lock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the lock back."""
        self._stop.set()
        self._thread.join()
        try:
            if not self.is_lost and self._is_mine():
                self._storage.delete(self._path)
        finally:
            _HELD.discard(self._token)

    def _acquire(self, wait_s: float, lease_s: float) -> None:
        begun_s = seen_s = time.monotonic()
        seen: bytes | None = None
        while not self._storage.create(self._path, self._content()):
            found = self._storage.read(self._path)
            now_s = time.monotonic()
            if found != seen:
                seen, seen_s = found, now_s
            if found is not None and (_is_gone(found) or now_s - seen_s >= lease_s):
                self._storage.delete(self._path)
                continue
            if now_s - begun_s >= wait_s and not _may_be_left_behind(found):
                raise IndexBusyError(f"{_holder(found)} works on {self._storage.url}")
            time.sleep(_LOOK_S)

    def _beat(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                if not self._is_mine():
                    self.is_lost = True
                    return
                self._number += 1
                self._storage.write(self._path, self._content())
            except ArchiveError:
                continue  # the store is out of reach for now; what else is written will tell

    def _is_mine(self) -> bool:
        """Whether the lock is still held. One that cannot be read was cut off by a full disk."""
        found = self._storage.read(self._path)
        return found is not None and _parsed(found).get("token", self._token) == self._token

    def _content(self) -> bytes:
        told = {
            "token": self._token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _start_of(os.getpid()),
            "number": self._number,
        }
        return json.dumps(told).encode()


def holder_of(storage: Storage) -> str | None:
    """Who builds on an index, in words; None: nobody, as far as this machine can tell.

    Raises:
        ArchiveError: the lock cannot be read.
    """
    found = storage.read(layout.LOCK)
    return None if found is None or _is_gone(found) else _holder(found)


def _parsed(blob: bytes | None) -> dict[str, Any]:
    try:
        told = json.loads(blob or b"{}")
    except ValueError:  # it is being written
        return {}
    return told if isinstance(told, dict) else {}


def _holder(blob: bytes | None) -> str:
    told = _parsed(blob)
    if not told:
        return "another process"
    return f"process {told.get('pid')} on {told.get('host')}"


def _is_gone(blob: bytes) -> bool:
    """Whether the holder ran on this machine and has ended."""
    told = _parsed(blob)
    if told.get("host") != socket.gethostname() or not isinstance(told.get("pid"), int):
        return False
    if told["pid"] == os.getpid() and told.get("token") not in _HELD:
        return True
    return _start_of(told["pid"]) != told.get("started")


def _may_be_left_behind(blob: bytes | None) -> bool:
    """Whether only waiting can tell: the holder is not a process of this machine."""
    return _parsed(blob).get("host") != socket.gethostname()


def _start_of(pid: int) -> str | None:
    """When a process of this machine was started, in ticks since boot; None if there is none.

    Numbers of processes are used again: the start tells them apart. In Linux only; elsewhere a
    process that lives has the start "?".
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if os.path.isdir("/proc/self") else _start_elsewhere(pid)
    return None if fields[0] == "Z" else fields[19]


def _start_elsewhere(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "?"
