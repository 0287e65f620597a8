"""The state of a session in the store, as the process that serves the session changes it."""

from __future__ import annotations

import contextlib
import time

from maskstream.core.error_text import error_text
from maskstream.core.errors import MaskstreamError, SessionError
from maskstream.pipeline.session.opening import OpenSession
from maskstream.pipeline.store import SessionState


class Over(Exception):  # noqa: N818
    """The session is left; the text says how it went: ended, failed, gone, superseded, stopped."""


class Lifecycle:
    """Looks at the session now and then, and moves it from state to state.

    Args:
        session: the session, taken over by this process.
        look_every_s: least time between two looks.
    """

    def __init__(self, session: OpenSession, look_every_s: float) -> None:
        self._store = session.store
        self._id = session.session_id
        self._writer = session.writer
        self._journal = session.journal
        self._look_every_s = look_every_s
        self._looked_s = 0.0
        self._used_s = time.monotonic()
        self.read_sequence = session.record.read_sequence
        """Results up to this one were read."""

    def note_used(self) -> None:
        """A client has used the session."""
        self._used_s = time.monotonic()

    @property
    def unused_s(self) -> float:
        """Seconds since a client used the session last."""
        return time.monotonic() - self._used_s

    def look(self) -> bool:
        """See, if it is time, what became of the session; True when its client is closing it.

        Raises:
            Over: the session is over, or another process serves it.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < self._look_every_s:
            return False
        self._looked_s = now_s
        record = self._store.get_session(self._id)
        if record.writer != self._writer:
            raise Over("superseded")
        if record.state.is_over:
            raise Over(str(record.state))
        if record.read_sequence > self.read_sequence:
            self.read_sequence = record.read_sequence
            self.note_used()
        return record.state == SessionState.DRAINING

    def change_state(self, to: SessionState) -> None:
        """Change the state, unless the session is in it or repeats what came before a crash."""
        if self._journal.is_replaying or self._store.get_session(self._id).state == to:
            return
        self._store.transition(self._id, to, writer=self._writer)

    def expire(self) -> None:
        """Delete the session, which nobody has used for too long.

        Raises:
            Over: always.
        """
        self._store.delete_session(self._id)
        raise Over("gone")

    def end(self, to: SessionState, reason: str) -> None:
        """End the session.

        Raises:
            Over: always.
        """
        if to == SessionState.ENDED:
            # A client may have begun to close it, or be closing it at this very moment.
            with contextlib.suppress(SessionError):
                self._store.transition(self._id, SessionState.DRAINING, writer=self._writer)
        self._store.transition(self._id, to, reason=reason, writer=self._writer)
        raise Over(str(to))

    def fail(self, error: MaskstreamError) -> str:
        """The session cannot go on; how it went."""
        record = self._store.get_session(self._id)
        if record.writer != self._writer:
            return "superseded"
        if record.state.is_over:
            return str(record.state)
        self._store.transition(
            self._id, SessionState.FAILED, reason=error_text(error), writer=self._writer
        )
        return str(SessionState.FAILED)
