"""Starts decode workers from a process that tracks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from maskstream.workers.decode import DecodeWorker, FeedFactory
from maskstream.workers.heartbeat import actor_of
from maskstream.workers.scheduling import beside_caller


class Decoders:
    """Starts decode workers. They die with this process.

    One may be started ahead of time, before its source is known: the start of a Python process and
    its imports take most of the time until a source's first frame.
    """

    def __init__(self) -> None:
        self._ready: Any = None
        self._lock = threading.Lock()

    def prepare(self, factory: FeedFactory) -> None:
        """Start a decode worker for the next ``open``, unless one is waiting already."""
        with self._lock:
            if self._ready is None:
                self._ready = _start()
                self._ready.prepare.remote(factory)

    def open(self, factory: FeedFactory, spec: Mapping[str, Any]) -> Any:
        """Returns the handle of an actor that decodes a source; see ``DecodeWorker.open``."""
        with self._lock:
            actor, self._ready = self._ready, None
        if actor is None:
            actor = _start()
        actor.open.remote(factory, spec)
        return actor


def _start() -> Any:
    return actor_of(DecodeWorker).options(**beside_caller(), max_concurrency=2).remote()
