"""How a client puts commands into the journal of a session, and learns what became of them."""

from __future__ import annotations

import time
from contextlib import suppress

from maskstream.core.error_text import error_from_text
from maskstream.core.errors import SessionError, StoreError
from maskstream.pipeline.api.commands import Command
from maskstream.pipeline.client.result_reader import has_ended
from maskstream.pipeline.store import NewEntry, Outcome, SessionStore
from maskstream.pipeline.store.records import EntryKind

# How often to look whether a session that owes an answer is still there.
_LOOK_EVERY_S = 1.0


class JournalWriter:
    """Writes commands and waits for their outcomes.

    Args:
        client_id: names the client in the journal.
        answer_timeout_s: how long a session may take to apply a command.
    """

    def __init__(self, store: SessionStore, client_id: str, answer_timeout_s: float) -> None:
        self._store = store
        self._client_id = client_id
        self._answer_timeout_s = answer_timeout_s

    def apply(self, session_id: str, kind: EntryKind, command: Command) -> Outcome:
        """Put a command into the journal, and wait until it has been applied.

        Raises:
            MaskstreamError: the command was rejected; this is the runtime's error.
            SessionError: the session has ended before, or does not answer in time.
        """
        new = NewEntry(kind=kind, payload=command.to_payload(), client_id=self._client_id)
        sequence = self._store.append_entry(session_id, new).sequence
        deadline = time.monotonic() + self._answer_timeout_s
        while True:
            left = deadline - time.monotonic()
            wait_s = min(max(left, 0.0), _LOOK_EVERY_S)
            outcome = self._store.wait_settled(session_id, sequence, wait_s).outcome
            if outcome is not None:
                break
            record = self._store.get_session(session_id)
            # The command may have been settled just before the session ended.
            if record.state.is_over and record.settled_sequence < sequence:
                raise has_ended(record, f"before {kind} was applied")
            if left <= 0:
                raise SessionError(
                    f"session {session_id} has not applied {kind} in {self._answer_timeout_s:g} s; "
                    f"it is entry {sequence} of the journal and will be applied when the session "
                    "comes to it, with the next frame at the latest"
                )
        if outcome.rejection is not None:
            raise error_from_text(outcome.rejection)
        return outcome

    def cancel_quietly(self, session_id: str) -> None:
        """Have a run cancelled whose results nobody reads; does not wait, and raises no error."""
        new = NewEntry(kind="cancel", client_id=self._client_id)
        # When the session is over, or the store out of reach, there is nothing to stop.
        with suppress(SessionError, StoreError):
            self._store.append_entry(session_id, new)
