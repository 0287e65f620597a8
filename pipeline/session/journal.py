"""The journal as its session reads it: entries in order, each when it is due."""

from __future__ import annotations

import time
from collections import deque

from maskstream.core.errors import StoreError
from maskstream.pipeline.store import JournalEntry, Outcome, SessionStore

Position = tuple[int, int]
"""(epoch, step) of the next frame. An entry's outcome keeps the position where it took effect."""

_PAGE = 32


class JournalReader:
    """Reads on from a checkpoint.

    Promises: entries that were settled before a crash come again exactly where they took effect.
    New entries are due at once, but not before the run has caught up with the newest result that
    was published: whoever wrote the entry has seen that result.

    Args:
        after: entries up to this sequence are in the checkpoint.
        replays: settled entries are due at their positions; False: at once.
        published: (epoch, step) of the newest result, or None.
        poll_every_s: least time between two looks into the store that do not wait.
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
        """Whether an entry that was settled before is still to come."""
        return bool(self._waiting) and self._waiting[0].outcome is not None

    def next_due(self, position: Position, timeout_s: float = 0.0) -> JournalEntry | None:
        """The next entry, if it is due."""
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
        """Kinds of the entries that wait behind the one that is being dealt with, in order."""
        if len(self._waiting) < _PAGE:
            self._fill(0.0)
        return [entry.kind for entry in list(self._waiting)[1:]]

    def finish(self, entry: JournalEntry) -> None:
        """The entry has been dealt with."""
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
            self._pass_over(error.resume_after, str(error))
            return
        self._waiting.extend(page.entries)
        self._read = page.cursor

    def _pass_over(self, sequence: int, why: str) -> None:
        """Settle an entry that nobody can read, so that those behind it can be."""
        self._store.settle_entry(
            self._session_id,
            sequence,
            Outcome(rejection=f"StoreError: {why}"),
            writer=self._writer,
        )
        self._read = self.done = sequence


def position_of(outcome: Outcome) -> Position:
    """Where an entry took effect; at once, where its outcome does not say."""
    at = outcome.detail.get("at")
    if isinstance(at, list) and len(at) == 2 and all(isinstance(n, int) for n in at):
        return at[0], at[1]
    return 0, 0
