"""The account of a session's frames: decoded = processed + dropped by reason + in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from maskstream.pipeline.store import Counters
from maskstream.workers.notes import FrameNote

LOST = "worker_lost"
CLOSED = "closed"


class Ledger:
    """Adds up what several feeds of one session have told, one after another.

    A frame counts as processed when its result is published. One that was decoded and did not
    reach the session is lost with its feed; from a source that can be read again it was not
    counted, since it comes again.

    Args:
        counters: what was told before.
        num_held: frames of those in flight that the session still has.
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
        """Of all feeds."""
        return self._decoded + self._note.decoded

    @property
    def num_held(self) -> int:
        """Frames that reached the session and have no result yet."""
        return self._taken - self._processed

    def note(self, note: FrameNote) -> None:
        """Take over what the feed says with every note; one that was overtaken says nothing new."""
        if note.decoded >= self._note.decoded:
            self._note = note

    def note_taken(self) -> None:
        """A frame has reached the session."""
        self._taken += 1

    def note_processed(self) -> None:
        """A frame's result is published."""
        self._processed += 1

    def close_feed(self, reason: str) -> None:
        """The feed is no more: what it decoded and nobody took is lost for this reason."""
        self._decoded += self._note.decoded
        self._dropped.update(dict(self._note.dropped))
        self._note = FrameNote("none", state=self._note.state, last_fault=self._note.last_fault)
        self._lose(self._decoded - self._taken - self._dropped.total(), reason)

    def abandon_held(self, reason: str) -> None:
        """Frames that reached the session will get no result."""
        held, self._taken = self.num_held, self._processed
        self._lose(held, reason)

    def _lose(self, num_frames: int, reason: str) -> None:
        if self._lossless:
            self._decoded -= num_frames
        elif num_frames > 0:
            self._dropped[reason] += num_frames

    def counters(self) -> Counters:
        """As the store keeps them."""
        dropped = self._dropped + Counter(dict(self._note.dropped))
        return Counters(decoded=self.decoded, processed=self._processed, dropped=dict(dropped))

    @property
    def source_state(self) -> str:
        return self._note.state

    @property
    def last_fault(self) -> str:
        return self._note.last_fault


def counters_from(state: Mapping[str, object]) -> Counters:
    """Counters from a checkpoint."""
    return Counters.model_validate(state)
