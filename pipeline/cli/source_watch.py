"""Says at once why a source gives no frames, and what is tried next."""

from __future__ import annotations

import threading
from typing import Self

from rich.console import Console

from maskstream.core.closing import Closing
from maskstream.core.errors import SessionError, StoreError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.live import LiveConfig, LiveSource, LiveState

_LOOK_EVERY_S = 0.25
_TROUBLED = frozenset({LiveState.CONNECTING, LiveState.WAITING})


class SourceWatch(Closing):
    """Looks at a session's source in a thread of its own while the command waits for frames.

    Each new fault is a line; one that stays as it is, is told once.
    """

    def __init__(
        self, client: Client, session_id: str, config: LiveConfig, console: Console
    ) -> None:
        """Prepare it.

        Args:
            client: of the session's service.
            session_id: of a session that runs by itself.
            config: how its source connects.
            console: where to tell it.
        """
        self._client = client
        self._session_id = session_id
        self._config = config
        self._console = console
        self._told = ""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="source-watch", daemon=True)
        self.source: LiveSource | None = None
        """The source, if this process reads it; None: its runtime does."""

    def __enter__(self) -> Self:
        """Start to look."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Look no more."""
        self._is_over.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK_EVERY_S):
            try:
                state, fault = self._look()
            except (SessionError, StoreError):
                return  # whoever waits for the session's results is told
            if state in _TROUBLED and fault and fault != self._told:
                self._told = fault
                self._console.print(f"{fault}; {self._next()}", soft_wrap=True, markup=False)

    def _look(self) -> tuple[str, str]:
        """The state of the source, and its last fault."""
        if self.source is not None:
            fault = self.source.last_fault
            return self.source.state, "" if fault is None else f"{fault.kind}: {fault.message}"
        stats = self._client.store.get_session(self._session_id).stats
        return str(stats.get("source_state", "")), str(stats.get("last_fault", ""))

    def _next(self) -> str:
        config = self._config
        pause_s = config.backoff_max_s
        if self._told.startswith("unauthorized"):
            pause_s = max(pause_s, config.unauthorized_pause_s)
        limit = "Ctrl-C ends it"
        if config.max_reconnect_s is not None:
            limit = f"given up after {config.max_reconnect_s:g} s without a frame"
        return f"trying again every {pause_s:g} s ({limit})"
