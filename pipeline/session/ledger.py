"""Counts a session's frames: decoded = processed + dropped (by reason) + in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from maskstream.pipeline.session.feed import FrameNote
from maskstream.pipeline.store import Counters

LOST = "worker_lost"
CLOSED = "closed"


class Ledger:
    """Adds up the counts of all feeds that a session has had, one after another.

    A frame counts as processed when its result is published. A frame that was decoded but did not
    reach the session is lost with its feed, and counts as dropped. If the source can be read again,
    the frame comes again, so it is not counted at all.

    Args:
        counters: the counts so far.
        num_held: how many frames in flight the session still has.
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
        """Number of frames that all feeds together have decoded."""
        return self._decoded + self._note.decoded

    @property
    def num_held(self) -> int:
        """Number of frames that reached the session and have no result yet."""
        return self._taken - self._processed

    def note(self, note: FrameNote) -> None:
        """Take over the feed's counts, unless newer ones are known."""
        if note.decoded >= self._note.decoded:
            self._note = note

    def note_taken(self) -> None:
        """Count a frame that has reached the session."""
        self._taken += 1

    def note_processed(self) -> None:
        """Count a frame whose result is published."""
        self._processed += 1

    def close_feed(self, reason: str) -> None:
        """End the feed's counts. Frames that it decoded and nobody took are dropped."""
        self._decoded += self._note.decoded
        self._dropped.update(dict(self._note.dropped))
        self._note = FrameNote("none", state=self._note.state, last_fault=self._note.last_fault)
        self._drop(self._decoded - self._taken - self._dropped.total(), reason)

    def abandon_held(self, reason: str) -> None:
        """Drop the frames that reached the session and will get no result."""
        held, self._taken = self.num_held, self._processed
        self._drop(held, reason)

    def _drop(self, num_frames: int, reason: str) -> None:
        if self._lossless:
            self._decoded -= num_frames
        elif num_frames > 0:
            self._dropped[reason] += num_frames

    def counters(self) -> Counters:
        """The counts, in the form of the store."""
        dropped = self._dropped + Counter(dict(self._note.dropped))
        return Counters(decoded=self.decoded, processed=self._processed, dropped=dict(dropped))

    @property
    def source_state(self) -> str:
        """What the source is doing."""
        return self._note.state

    @property
    def last_fault(self) -> str:
        """The source's newest fault, without credentials."""
        return self._note.last_fault


def counters_from(state: Mapping[str, object]) -> Counters:
    """Counters from a checkpoint."""
    return Counters.model_validate(state)
