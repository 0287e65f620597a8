"""Frames from a decode worker, which may die and is then started anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray

from maskstream.core.errors import MaskstreamError, SourceError
from maskstream.pipeline.api.commands import error_from_text
from maskstream.pipeline.session.ledger import CLOSED, LOST, Ledger
from maskstream.pipeline.video.tracking import FramePlace
from maskstream.workers.faults import DEATHS, RestartBudget
from maskstream.workers.notes import FrameNote
from maskstream.workers.pulse import Pulse

# How long the feed may wait before it says that there is nothing yet.
_FEED_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that has come.

    Attributes:
        note: with index and epoch as the session counts them.
        image: Ray's reference to the picture; only detect workers look at it.
    """

    note: FrameNote
    image: Any

    @property
    def place(self) -> FramePlace:
        return FramePlace(self.note.index, self.note.pts_s, self.note.size)


class Intake:
    """The consumer's end of a source.

    Promises: frames come in order, none twice. After a decoder's death a source that can be read
    again goes on with the next frame; from a live one what was on its way is lost and counted,
    and the epoch goes up.

    Args:
        start_decoder: starts a decode worker.
        budget: how often it may die.
        ledger: keeps the account.
        unresponsive_s: a decoder that does not answer for so long is ended.
        is_live: frames that were missed can never be had again.
        first_index, first_epoch: where a live source's numbers begin.
    """

    def __init__(
        self,
        start_decoder: Callable[[], Any],
        budget: RestartBudget,
        ledger: Ledger,
        unresponsive_s: float,
        *,
        is_live: bool,
        first_index: int = 0,
        first_epoch: int = 0,
    ) -> None:
        self._start_decoder = start_decoder
        self._budget = budget
        self._ledger = ledger
        self._is_live = is_live
        self._index_base = first_index
        self._epoch_base = first_epoch
        self._last_epoch = first_epoch
        self._last_wall_s: float | None = None
        self._unresponsive_s = unresponsive_s
        self._decoder: Any = start_decoder()
        self._pulse = self._new_pulse()
        self._next_index = 0
        self._reverse = False
        self._asked: tuple[Any, Any] | None = None
        self._held: Arrival | None = None
        self._revived = False
        self.is_end = False
        self.failure: MaskstreamError | None = None

    @property
    def num_deaths(self) -> int:
        return self._budget.num_deaths

    @property
    def is_over(self) -> bool:
        """Whether no more frames will come."""
        return self._held is None and (self.is_end or self.failure is not None)

    def pid(self) -> int:
        """Of the decode worker."""
        pid: int = ray.get(self._decoder.pid.remote())
        return pid

    def begin(self, start: int, *, reverse: bool = False) -> None:
        """Go to a frame. What was on its way is dropped."""
        self._asked = self._held = None
        self._next_index, self._reverse = start, reverse
        self.is_end, self.failure = False, None
        if not self._is_live:
            self._ledger.close_feed(LOST)
            self._go_to_position()

    def peek(self, timeout_s: float) -> Arrival | None:
        """The next frame, which stays where it is; None: none came in time, or ``is_end``, or
        ``failure``.
        """
        if self._held is None and not self.is_end and self.failure is None:
            self._wait(timeout_s)
        return self._held

    def coming(self) -> Any:
        """Ray's reference to the next word of the source, for who waits for other things too;
        None: it is here already.
        """
        if self._asked is None and self._held is None and not self.is_over:
            self._ask()
        return None if self._asked is None else self._asked[0]

    def hear(self, timeout_s: float) -> None:
        """Wait for the source's first word, whatever it is: a frame, that it has none, a fault."""
        coming = self.coming()
        if coming is not None:
            ray.wait([coming], timeout=timeout_s)
        self.peek(0.0)

    def take(self) -> Arrival:
        """The frame that ``peek`` has shown; the next one is asked for."""
        arrival, self._held = self._held, None
        if arrival is None:
            raise RuntimeError("peek before taking")
        self._ledger.note_taken()
        self._ask()
        return arrival

    def read(self, index: int) -> Arrival:
        """One frame by its index, for a source that can be read again.

        Raises:
            InputError: there is no such frame.
            SourceError: it cannot be decoded.
        """
        while True:
            try:
                note_ref, image = self._decoder.read.options(num_returns=2).remote(index)
                note: FrameNote = ray.get(note_ref)
            except DEATHS as error:
                self._revive(error)
                continue
            if note.kind == "failed":
                raise error_from_text(note.message)
            return Arrival(note, image)

    def look(self) -> None:
        """Have the ledger know what the source has done, though no frame is wanted now."""
        try:
            self._ledger.note(ray.get(self._decoder.look.remote()))
        except DEATHS as error:
            self._revive(error)

    def note_done(self, index: int) -> None:
        """Frames up to this one are not needed again, whatever happens."""
        self._decoder.note_done.remote(index)

    def close_account(self) -> None:
        """Count what is on its way as dropped: the session ends."""
        self._asked = self._held = None
        self._ledger.close_feed(CLOSED)

    def close(self) -> None:
        """End the decode worker."""
        self._asked = self._held = None
        ray.kill(self._decoder)

    def _new_pulse(self) -> Pulse:
        return Pulse(self._decoder, "decode worker", self._unresponsive_s)

    def _ask(self) -> None:
        self._asked = self._decoder.next.options(num_returns=2).remote(_FEED_WAIT_S)

    def _wait(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self._held is None and not self.is_end and self.failure is None:
            if self._asked is None:
                self._ask()
            assert self._asked is not None
            note_ref, image = self._asked
            left_s = max(0.0, deadline_s - time.monotonic())
            if not ray.wait([note_ref], timeout=left_s)[0]:
                self._pulse.beat()  # a death shows in what was asked for
                return
            self._asked = None
            try:
                self._receive(ray.get(note_ref), image)
            except DEATHS as error:
                self._revive(error)
            if time.monotonic() >= deadline_s:
                return

    def _receive(self, note: FrameNote, image: Any) -> None:
        self._ledger.note(note)
        if note.kind == "end":
            self.is_end = True
        elif note.kind == "failed":
            self.failure = error_from_text(note.message)
        elif note.kind == "frame":
            self._held = Arrival(self._as_session_counts(note), image)
            self._next_index = note.index + (-1 if self._reverse else 1)

    def _as_session_counts(self, note: FrameNote) -> FrameNote:
        if not self._is_live:
            return note
        gap_s, last_s = note.gap_s, self._last_wall_s
        if self._revived and last_s is not None:
            gap_s = max(gap_s, note.wall_s - last_s)
        self._revived = False
        self._last_wall_s = note.wall_s
        self._last_epoch = note.epoch + self._epoch_base
        return replace(
            note, index=note.index + self._index_base, epoch=self._last_epoch, gap_s=gap_s
        )

    def _revive(self, error: BaseException) -> None:
        """Start another decoder in place of a dead one.

        Raises:
            SourceError: it has died too often.
        """
        if not self._budget.note_death():
            raise SourceError(
                f"the decoder of this source has died {self._budget}; the source, or the library "
                "that decodes it, makes it crash"
            ) from error
        self._ledger.close_feed(LOST)
        self._index_base = self._ledger.decoded
        self._epoch_base = self._last_epoch + 1
        self._revived = True
        self._decoder = self._start_decoder()
        self._pulse = self._new_pulse()
        self._go_to_position()

    def _go_to_position(self) -> None:
        if self._is_live:
            return
        if self._next_index < 0:
            self.is_end = True
            return
        try:
            # Calls may overtake each other, so this one is waited for.
            ray.get(self._decoder.begin.remote(self._next_index, self._reverse))
        except DEATHS as error:
            self._revive(error)
