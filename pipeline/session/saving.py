"""Saves checkpoints of a session, from which another process can continue it."""

from __future__ import annotations

import logging
import time

from maskstream.core.errors import SessionLimitError
from maskstream.pipeline.session.journal import Position
from maskstream.pipeline.session.opening import OpenSession
from maskstream.pipeline.store import Checkpoint

_LOG = logging.getLogger("maskstream.session")


class Saver:
    """Saves a session's state between two frames.

    Args:
        session: the session.
        every_s: least time between two checkpoints, in seconds. None: none are saved, because the
            session cannot outlive its process.

    Attributes:
        is_changed: the state has changed since the last checkpoint. The runner sets it.
    """

    def __init__(self, session: OpenSession, every_s: float | None) -> None:
        self._session = session
        self._every_s = every_s
        self._saved_s = time.monotonic()
        self.is_changed = False

    @property
    def is_on(self) -> bool:
        """Whether checkpoints are saved at all."""
        return self._every_s is not None

    def save_if_due(self) -> None:
        """Save if the state has changed and ``every_s`` has passed."""
        if not self.is_changed:
            return
        if self._every_s is None:
            self.is_changed = False
            self._free_pushed_frames()
        elif time.monotonic() - self._saved_s >= self._every_s:
            self.save()

    def save(self) -> None:
        """Save now.

        A state that is too large for the store is not saved. After a crash, a file is then repeated
        from an earlier checkpoint, and a stream starts again with its concepts alone.
        """
        session = self._session
        if self._every_s is None or session.journal.is_replaying:
            return
        self._saved_s = time.monotonic()
        self.is_changed = False
        try:
            session.store.save_checkpoint(
                session.session_id, self.checkpoint(session.journal.done), writer=session.writer
            )
        except SessionLimitError as error:
            _LOG.warning("%s", error)
            return
        self._free_pushed_frames()

    def _free_pushed_frames(self) -> None:
        """Allow the store to forget the pushed frames that no checkpoint needs any more."""
        session = self._session
        if session.is_pushed and session.state.run is not None:
            session.intake.note_done(session.state.run.next_index - 1)

    def checkpoint(self, journal: int) -> Checkpoint:
        """Make a checkpoint of the current state.

        Args:
            journal: sequence of the newest journal entry that the state contains.
        """
        session = self._session
        more = {
            "pending": session.log.pending_state(),
            "counters": session.log.ledger_at_checkpoint(),
        }
        return session.log.checkpoint(session.state.to_bytes(more), self._position(), journal)

    def _position(self) -> Position:
        """Position of the first frame that the state does not contain."""
        session, state = self._session, self._session.state
        run = state.run
        if session.runs_by_itself:
            return session.epoch, 0 if run is None else run.next_index
        if run is None or not run.passes:
            return state.epoch, state.idle_step
        return run.current.epoch, run.step_of(run.next_index)
