"""Checkpoints of a session that is served."""

from __future__ import annotations

import logging
import time

from maskstream.core.errors import SessionLimitError
from maskstream.pipeline.session.journal import Position
from maskstream.pipeline.session.opening import OpenSession
from maskstream.pipeline.store import Checkpoint

_LOG = logging.getLogger("maskstream.runtime")


class Saver:
    """Saves a session's state, between two frames, when it has changed and some time has passed.

    Args:
        every_s: least time between checkpoints.
    """

    def __init__(self, session: OpenSession, every_s: float) -> None:
        self._session = session
        self._every_s = every_s
        self._saved_s = time.monotonic()
        self.is_changed = False

    def save_now_and_then(self) -> None:
        """Save, if it is time."""
        if self.is_changed and time.monotonic() - self._saved_s >= self._every_s:
            self.save()

    def save(self) -> None:
        """Save now. A state that is too large is not saved: a file is then played from farther
        back, and a stream starts with its concepts alone.
        """
        session = self._session
        if session.journal.is_replaying:
            return  # the one that is there is as good
        self._saved_s = time.monotonic()
        self.is_changed = False
        try:
            session.store.save_checkpoint(
                session.session_id, self.checkpoint(session.journal.done), writer=session.writer
            )
        except SessionLimitError as error:
            _LOG.warning("%s", error)
            return
        if session.is_pushed and session.state.run is not None:
            session.intake.note_done(session.state.run.next_index - 1)

    def checkpoint(self, journal: int) -> Checkpoint:
        """The state as it is now, with the journal up to an entry."""
        session = self._session
        more = {
            "pending": session.log.pending_state(),
            "counters": session.log.ledger_at_checkpoint(),
        }
        return session.log.checkpoint(session.state.to_bytes(more), self._position(), journal)

    def _position(self) -> Position:
        """Of the first frame that is not in it."""
        session, state = self._session, self._session.state
        run = state.run
        if session.is_free:
            return session.epoch, 0 if run is None else run.next_index
        if run is None or not run.legs:
            return state.epoch, state.idle_step
        return run.current.epoch, run.step_of(run.next_index)
