"""Decode workers, as the process that tracks starts them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from maskstream.workers.decode import DecodeWorker, FeedFactory
from maskstream.workers.heartbeat import actor_of
from maskstream.workers.scheduling import beside_caller


class Decoders:
    """Starts decode workers, which die with this process; one may stand ready.

    A process of Python and its imports take longer than everything else on the way to a source's
    first frame, and need not know the source.
    """

    def __init__(self) -> None:
        self._ready: Any = None
        self._lock = threading.Lock()

    def prepare(self, factory: FeedFactory) -> None:
        """Have one ready for the next ``open``."""
        with self._lock:
            if self._ready is None:
                self._ready = _start()
                self._ready.prepare.remote(factory)

    def open(self, factory: FeedFactory, spec: Mapping[str, Any]) -> Any:
        """The handle of an actor that decodes a source."""
        with self._lock:
            actor, self._ready = self._ready, None
        if actor is None:
            actor = _start()
        actor.open.remote(factory, spec)
        return actor


def _start() -> Any:
    return actor_of(DecodeWorker).options(**beside_caller(), max_concurrency=2).remote()
