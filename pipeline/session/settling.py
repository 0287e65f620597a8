"""Applies new journal entries and writes their outcomes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from maskstream.core.error_text import error_text
from maskstream.core.errors import (
    MaskstreamError,
    SessionLimitError,
    SessionNotFoundError,
    StoreError,
)
from maskstream.pipeline.api.commands import Command, parse_command
from maskstream.pipeline.session.applying import Applied
from maskstream.pipeline.session.journal import Position
from maskstream.pipeline.session.opening import OpenSession
from maskstream.pipeline.session.saving import Saver
from maskstream.pipeline.store import Checkpoint, JournalEntry, Outcome

_LOG = logging.getLogger("maskstream.session")
_REASON_CHARACTERS = 4000


class Settler:
    """Settles journal entries, each once.

    Args:
        session: the session.
        saver: makes checkpoints.
        apply: applies a command. If it raises, the state is unchanged.
    """

    def __init__(
        self, session: OpenSession, saver: Saver, apply: Callable[[Command], Applied]
    ) -> None:
        self._session = session
        self._saver = saver
        self._apply = apply

    def settle(self, entry: JournalEntry, position: Position) -> None:
        """Apply an entry and write its outcome, which contains the position.

        Raises:
            StoreError: the store is out of reach. The entry stays unsettled; the next process that
                serves the session applies it again.
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
            if applied.used_frame and self._session.is_live and self._saver.is_on:
                # A live source does not give that frame again, so the outcome is written together
                # with a checkpoint that contains the effect of the prompt.
                saved = self._saver.checkpoint(entry.sequence)
        try:
            self._write(entry, outcome, saved)
        except SessionLimitError:
            _LOG.warning(
                "session %s: the checkpoint is too large to be saved with a prompt",
                self._session.session_id,
            )
            self._write(entry, outcome, None)

    def _write(self, entry: JournalEntry, outcome: Outcome, saved: Checkpoint | None) -> None:
        session = self._session
        session.store.settle_entry(
            session.session_id, entry.sequence, outcome, checkpoint=saved, writer=session.writer
        )
