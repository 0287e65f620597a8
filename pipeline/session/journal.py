"""Reads a session's journal: entries in order, each when it is due."""

from __future__ import annotations

import time
from collections import deque

from maskstream.core.error_text import error_text
from maskstream.core.errors import StoreError
from maskstream.pipeline.store import JournalEntry, Outcome, SessionStore

Position = tuple[int, int]
"""(epoch, step) of the next frame. An outcome stores the position where its entry took effect."""

_PAGE = 32


class JournalReader:
    """Reads the journal from a checkpoint on.

    Promises: entries that were settled before a crash are due again exactly where they took
    effect. New entries are due at once, except while the run repeats published results. Then they
    wait until it has passed the newest of these, which the author of the entry may have seen.

    Args:
        store: the session store.
        session_id: whose journal it is.
        after: sequence of the last entry that the checkpoint contains.
        writer: this process's token to write to the session.
        replays: settled entries are due at their positions; False: at once.
        published: (epoch, step) of the newest result, or None.
        poll_every_s: least time between two reads of the store that do not wait, in seconds.

    Attributes:
        done: sequence of the last entry that was applied or settled.
    """

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        after: int,
        writer: int,
        *,
        replays: bool,
        published: Position | None,
        poll_every_s: float = 0.0,
    ) -> None:
        self._store = store
        self._session_id = session_id
        self._writer = writer
        self._replays = replays
        self._published = published if replays else None
        self._waiting: deque[JournalEntry] = deque()
        self._read = after
        self._poll_every_s = poll_every_s
        self._polled_s = 0.0
        self.done = after

    @property
    def is_replaying(self) -> bool:
        """Whether the next entry was settled before a crash."""
        return bool(self._waiting) and self._waiting[0].outcome is not None

    def next_due(self, position: Position, timeout_s: float = 0.0) -> JournalEntry | None:
        """Returns the next entry if it is due at this position, else None.

        Args:
            position: position of the next frame.
            timeout_s: how long to wait for an entry if the journal holds no more.
        """
        now_s = time.monotonic()
        if not self._waiting and (timeout_s or now_s - self._polled_s >= self._poll_every_s):
            self._polled_s = now_s
            self._fill(timeout_s)
        if not self._waiting:
            return None
        entry = self._waiting[0]
        if entry.outcome is None:
            return entry if self._has_caught_up(position) else None
        if self._replays and position < position_of(entry.outcome):
            return None
        return entry

    def _has_caught_up(self, position: Position) -> bool:
        if self._published is not None and position > self._published:
            self._published = None
        return self._published is None

    def kinds_behind(self) -> list[str]:
        """Kinds of the entries behind the current one, in order."""
        if len(self._waiting) < _PAGE:
            self._fill(0.0)
        return [entry.kind for entry in list(self._waiting)[1:]]

    def finish(self, entry: JournalEntry) -> None:
        """Remove the current entry: it has been applied or settled."""
        self._waiting.popleft()
        self.done = entry.sequence

    def _fill(self, timeout_s: float) -> None:
        try:
            page = self._store.read_journal(
                self._session_id, self._read, count=_PAGE, timeout_s=timeout_s
            )
        except StoreError as error:
            if error.resume_after is None:
                raise
            self._pass_over(error.resume_after, error_text(error))
            return
        self._waiting.extend(page.entries)
        self._read = page.cursor

    def _pass_over(self, sequence: int, why: str) -> None:
        """Reject an entry that cannot be read, so that the entries behind it can be."""
        self._store.settle_entry(
            self._session_id,
            sequence,
            Outcome(rejection=why),
            writer=self._writer,
        )
        self._read = self.done = sequence


def position_of(outcome: Outcome) -> Position:
    """The position where an entry took effect; (0, 0), if its outcome does not say."""
    at = outcome.detail.get("at")
    if isinstance(at, list) and len(at) == 2 and all(isinstance(n, int) for n in at):
        return at[0], at[1]
    return 0, 0
