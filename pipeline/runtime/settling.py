"""Entries of the journal that are new: applied, and what became of them written."""

from __future__ import annotations

import logging
from collections.abc import Callable

from core.errors import MaskstreamError, SessionLimitError, SessionNotFoundError, StoreError
from pipeline.commands import Command, error_text, parse_command
from pipeline.runtime.applying import Applied
from pipeline.runtime.journal import Position
from pipeline.runtime.opening import OpenSession
from pipeline.runtime.saving import Saver
from pipeline.store import Checkpoint, JournalEntry, Outcome

_LOG = logging.getLogger("maskstream.runtime")
_REASON_CHARACTERS = 4000


class Settler:
    """Settles entries, each once.

    Args:
        apply: does what a command says; when it raises, nothing has changed.
    """

    def __init__(
        self, session: OpenSession, saver: Saver, apply: Callable[[Command], Applied]
    ) -> None:
        self._session = session
        self._saver = saver
        self._apply = apply

    def settle(self, entry: JournalEntry, position: Position) -> None:
        """Apply an entry and write its outcome, with where that was.

        Raises:
            StoreError: the store is out of reach; the entry is applied again, by who goes on.
            SessionNotFoundError: the session is gone.
        """
        at = {"at": list(position)}
        saved = None
        try:
            applied = self._apply(parse_command(entry.kind, entry.payload))
        except (StoreError, SessionNotFoundError):
            raise
        except MaskstreamError as error:
            outcome = Outcome(rejection=error_text(error)[:_REASON_CHARACTERS], detail=at)
        else:
            outcome = Outcome(frame_index=applied.frame_index, detail=applied.detail | at)
            if applied.used_frame and self._session.is_live:
                # That frame will not come again, so what it gave is kept with the outcome.
                saved = self._saver.checkpoint(entry.sequence)
        try:
            self._write(entry, outcome, saved)
        except SessionLimitError:
            _LOG.warning(
                "session %s: the checkpoint is too large to go with a prompt",
                self._session.session_id,
            )
            self._write(entry, outcome, None)

    def _write(self, entry: JournalEntry, outcome: Outcome, saved: Checkpoint | None) -> None:
        session = self._session
        session.store.settle_entry(
            session.session_id, entry.sequence, outcome, checkpoint=saved, writer=session.writer
        )
