"""How a client starts and closes sessions."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from maskstream.core.error_text import error_from_text
from maskstream.core.errors import RequestError, SessionError
from maskstream.pipeline.api.fields import PicturesInMemory
from maskstream.pipeline.api.options import source_kind
from maskstream.pipeline.api.requests import StartSession
from maskstream.pipeline.store import NewSession, SessionLimits, SessionState, SessionStore

# How often to look whether a session has ended.
_LOOK_EVERY_S = 1.0
_NO_PICTURES = (
    "resource_path: pictures in memory are for sessions in this process "
    "(build_sam3_video_predictor); a runtime reads a folder of pictures, or takes them one by one "
    "with push_frame from a session on pushed://"
)
_STARTED = frozenset(SessionState) - {SessionState.STARTING}
_OVER = frozenset(state for state in SessionState if state.is_over)
_TAKES_PROMPTS = frozenset(state for state in SessionState if state.takes_prompts)


class SessionStarter:
    """Starts sessions, each with the limits of its client, and closes sessions.

    Args:
        store: the session store.
        limits: of the sessions that are started.
        serve: takes the id of each new session, and serves it; None: a runtime claims it.
        start_timeout_s: how long a runtime may take to begin with a new session.
        close_timeout_s: how long ``close`` waits for the session to end.
    """

    def __init__(
        self,
        store: SessionStore,
        limits: SessionLimits,
        serve: Callable[[str], None] | None,
        start_timeout_s: float,
        close_timeout_s: float,
    ) -> None:
        self._store = store
        self._limits = limits
        self._serve = serve
        self._start_timeout_s = start_timeout_s
        self._close_timeout_s = close_timeout_s

    def start(self, request: StartSession) -> str:
        """Start a session, and wait until it is served; returns its id.

        Raises:
            RequestError: its pictures are in memory, which no other process can read.
            SessionError: no runtime begins with it in time. Nothing is left of it.
            MaskstreamError: it cannot be started; this is the runtime's error.
        """
        source = request.resource_path
        if isinstance(source, PicturesInMemory):
            raise RequestError([_NO_PICTURES])
        if source_kind(source) == "file" and "://" not in source:
            source = os.path.abspath(source)  # the runtime may have another working directory
        session_id = request.session_id or uuid.uuid4().hex
        request = request.model_copy(update={"resource_path": source})
        self._store.create_session(_new_session(request, session_id, self._limits))
        try:
            if self._serve is not None:
                self._serve(session_id)
            self._wait_started(session_id)
        except BaseException:
            self._store.delete_session(session_id)
            raise
        return session_id

    def close(self, session_id: str) -> None:
        """End a session and delete it; nothing happens if there is none."""
        # Without such a session, or when it is ending already, there is nothing to wait for.
        with suppress(SessionError):
            self._store.transition(session_id, SessionState.DRAINING, expected=_TAKES_PROMPTS)
            self._wait_over(session_id)
        self._store.delete_session(session_id)

    def _wait_started(self, session_id: str) -> None:
        record = self._store.wait_for_state(session_id, _STARTED, self._start_timeout_s)
        if record.state == SessionState.STARTING:
            raise SessionError(
                f"no runtime has begun with session {session_id} in {self._start_timeout_s:g} s: "
                "is one running on this store (maskstream serve), and has it room?"
            )
        if record.state == SessionState.FAILED:
            raise error_from_text(record.reason)

    def _wait_over(self, session_id: str) -> None:
        """Wait until the runtime has ended the session, ``close_timeout_s`` at most."""
        deadline = time.monotonic() + self._close_timeout_s
        while self._store.get_session(session_id).state not in _OVER:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._store.wait_for_state(session_id, _OVER, min(left, _LOOK_EVERY_S))


def _new_session(request: StartSession, session_id: str, limits: SessionLimits) -> NewSession:
    """The new session that ``start_session`` puts into a store."""
    options = request.options
    changes: dict[str, float] = {"max_waiting_frames": options.queue_size}
    if request.expire_after_s is not None:
        changes["expire_after_s"] = request.expire_after_s
    return NewSession(
        source=str(request.resource_path),
        session_id=session_id,
        owner=request.owner,
        options=options.to_stored(),
        limits=limits.model_copy(update=changes),
    )
