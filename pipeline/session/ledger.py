"""The account of a session's frames: decoded = processed + dropped by reason + in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from maskstream.pipeline.session.feed import FrameNote
from maskstream.pipeline.store import Counters

LOST = "worker_lost"
CLOSED = "closed"


class Ledger:
    """Adds up the accounts of the feeds that a session has had, one after another.

    A frame counts as processed when its result is published. A frame that was decoded and did not
    reach the session is lost with its feed. If the source can be read again, that frame comes
    again, so it is taken out of the account.

    Args:
        counters: the account so far.
        num_held: frames in flight that the session still has.
        lossless: the source can be read again.
    """

    def __init__(self, counters: Counters, *, num_held: int = 0, lossless: bool) -> None:
        self._lossless = lossless
        self._processed = counters.processed
        self._taken = counters.processed + num_held
        self._decoded = counters.decoded
        self._dropped = Counter(dict(counters.dropped))
        self._note = FrameNote("none")
        self.close_feed(LOST)

    @property
    def decoded(self) -> int:
        """Frames that all feeds together have decoded."""
        return self._decoded + self._note.decoded

    @property
    def num_held(self) -> int:
        """Frames that reached the session and have no result yet."""
        return self._taken - self._processed

    def note(self, note: FrameNote) -> None:
        """Take over the feed's account, unless a newer one is known."""
        if note.decoded >= self._note.decoded:
            self._note = note

    def note_taken(self) -> None:
        """A frame has reached the session."""
        self._taken += 1

    def note_processed(self) -> None:
        """A frame's result is published."""
        self._processed += 1

    def close_feed(self, reason: str) -> None:
        """End the feed's account. What it decoded and nobody took is dropped for this reason."""
        self._decoded += self._note.decoded
        self._dropped.update(dict(self._note.dropped))
        self._note = FrameNote("none", state=self._note.state, last_fault=self._note.last_fault)
        self._drop(self._decoded - self._taken - self._dropped.total(), reason)

    def abandon_held(self, reason: str) -> None:
        """Frames that reached the session will get no result."""
        held, self._taken = self.num_held, self._processed
        self._drop(held, reason)

    def _drop(self, num_frames: int, reason: str) -> None:
        if self._lossless:
            self._decoded -= num_frames
        elif num_frames > 0:
            self._dropped[reason] += num_frames

    def counters(self) -> Counters:
        """The account as the store keeps it."""
        dropped = self._dropped + Counter(dict(self._note.dropped))
        return Counters(decoded=self.decoded, processed=self._processed, dropped=dict(dropped))

    @property
    def source_state(self) -> str:
        """What the source is doing."""
        return self._note.state

    @property
    def last_fault(self) -> str:
        """What went wrong last with the source, without credentials."""
        return self._note.last_fault


def counters_from(state: Mapping[str, object]) -> Counters:
    """Counters from a checkpoint."""
    return Counters.model_validate(state)
