"""What runs inside a track worker: the sessions it serves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from core.errors import SessionNotFoundError
from pipeline.runtime.feeds import StoreAddress, open_feed
from pipeline.runtime.opening import RunnerConfig
from pipeline.runtime.runner import SessionRunner
from pipeline.runtime.warming import play_blank_frames
from workers.memory import give_back_memory
from workers.track import Tools


class StoreServer:
    """Serves sessions of one store; see :class:`workers.track.SessionServer`.

    Args:
        spec: ``store`` (StoreAddress), ``policy`` (SourcePolicy), ``runner`` (RunnerConfig).
    """

    def __init__(self, spec: Mapping[str, Any], tools: Tools) -> None:
        address: StoreAddress = spec["store"]
        self._spec = spec
        self._tools = tools
        self._config: RunnerConfig = spec["runner"]
        self._store = address.open()
        self._stop = threading.Event()

    def serve(self, session_id: str) -> str:
        feed_spec = {
            "store": self._spec["store"],
            "policy": self._spec["policy"],
            "session_id": session_id,
        }
        try:
            return SessionRunner(
                self._store,
                session_id,
                self._tools,
                self._config,
                lambda: self._tools.decoders.open(open_feed, feed_spec),
                self._stop,
            ).run()
        except SessionNotFoundError:
            return "gone"
        finally:
            give_back_memory()

    def warm(self) -> None:
        self._tools.decoders.prepare(open_feed)
        play_blank_frames(self._tools)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        self._store.close()
