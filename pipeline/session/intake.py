"""Reads the frames of a session's source and replaces a decoder that dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from maskstream.core.error_text import error_from_text
from maskstream.core.errors import MaskstreamError, SourceError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.session.feed import FrameNote
from maskstream.pipeline.session.ledger import CLOSED, LOST, Ledger
from maskstream.pipeline.session.ports import Arrival, Decoder, DecoderDiedError, PendingNote
from maskstream.pipeline.session.restarts import RestartBudget

# How long a decoder waits for a frame before it answers that none has come.
_DECODER_WAIT_S = 0.5


class Intake:
    """Reads the frames of a source, one frame ahead.

    Promises: frames come in order, and none comes twice. When the decoder dies, another one is
    started. A source that can be read again then continues with the next frame. From a live source,
    the frames in transit are lost and counted as dropped, and the epoch goes up by one.

    Args:
        start_decoder: starts a decoder for the session's source.
        budget: how often the decoder may die.
        ledger: counts the frames.
        is_live: frames that were missed cannot be read again.
        first_index: index of a live source's first frame.
        first_epoch: epoch of a live source's first frame.
    """

    def __init__(
        self,
        start_decoder: Callable[[], Decoder],
        budget: RestartBudget,
        ledger: Ledger,
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
        self._decoder = start_decoder()
        self._next_index = 0
        self._reverse = False
        self._pending: PendingNote | None = None
        self._held: Arrival | None = None
        self._is_new_decoder = False
        self.is_end = False
        self.failure: MaskstreamError | None = None
        self.has_no_decoder = False
        """Decoders have died too often, so the session cannot go on."""

    @property
    def num_deaths(self) -> int:
        """How often a decoder of this session has died."""
        return self._budget.num_deaths

    @property
    def is_over(self) -> bool:
        """Whether no more frames will come."""
        return self._held is None and (self.is_end or self.failure is not None)

    def begin(self, start: int, *, reverse: bool = False) -> None:
        """Go to a frame. Frames in transit are dropped."""
        self._pending = self._held = None
        self._next_index, self._reverse = start, reverse
        self.is_end, self.failure = False, None
        if not self._is_live:
            self._ledger.close_feed(LOST)
            self._go_to_position()

    def peek(self, timeout_s: float) -> Arrival | None:
        """Wait for the next frame and return it without taking it.

        Returns:
            None if no frame came in time, or the source is over.
        """
        if self._held is None and not self.is_end and self.failure is None:
            self._wait(timeout_s)
        return self._held

    def pending_handle(self) -> Any:
        """The handle of the note that was asked for (:class:`PendingNote`), or None."""
        if self._pending is None and self._held is None and not self.is_over:
            self._ask()
        return None if self._pending is None else self._pending.handle

    def wait_first(self, timeout_s: float) -> None:
        """Wait for the source's first note, of whatever kind; a fault then is in ``failure``."""
        self.pending_handle()  # asks for a note
        if self._pending is not None:
            self._pending.wait(timeout_s)
        self.peek(0.0)

    def take(self) -> Arrival:
        """Take the frame that ``peek`` returned, and ask for the next one."""
        arrival, self._held = self._held, None
        if arrival is None:
            raise RuntimeError("peek before taking")
        self._ledger.note_taken()
        self._ask()
        return arrival

    def read(self, index: int) -> Arrival:
        """Read one frame by its index, from a source that can be read again.

        Raises:
            InputError: there is no such frame.
            SourceError: the frame cannot be decoded, or decoders have died too often.
        """
        while True:
            try:
                note, image = self._decoder.read(index)
            except DecoderDiedError as error:
                self._restart(error)
                continue
            if note.kind == "failed":
                raise error_from_text(note.message)
            return Arrival(note.stamp, image)

    def update_account(self) -> None:
        """Update the ledger with the source's counts while no frame is wanted."""
        try:
            self._ledger.note(self._decoder.look())
        except DecoderDiedError as error:
            self._restart(error)

    def note_done(self, index: int) -> None:
        """Allow the source to forget frames up to this index."""
        self._decoder.note_done(index)

    def close_account(self) -> None:
        """Count the frames in transit as dropped, because the session ends."""
        self._pending = self._held = None
        self._ledger.close_feed(CLOSED)

    def close(self) -> None:
        """End the decoder."""
        self._pending = self._held = None
        self._decoder.close()

    def _ask(self) -> None:
        self._pending = self._decoder.next(_DECODER_WAIT_S)

    def _wait(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self._held is None and not self.is_end and self.failure is None:
            if self._pending is None:
                self._ask()
            pending = self._pending
            if pending is None or not pending.wait(max(0.0, deadline_s - time.monotonic())):
                self._decoder.check()
                return
            self._pending = None
            try:
                self._receive(*pending.result())
            except DecoderDiedError as error:
                self._restart_or_fail(error)
            if time.monotonic() >= deadline_s:
                return

    def _receive(self, note: FrameNote, image: Any) -> None:
        self._ledger.note(note)
        if note.kind == "end":
            self.is_end = True
        elif note.kind == "failed":
            self.failure = error_from_text(note.message)
        elif note.kind == "frame":
            self._held = Arrival(self._as_session_counts(note.stamp), image)
            self._next_index = note.stamp.index + (-1 if self._reverse else 1)

    def _as_session_counts(self, stamp: FrameStamp) -> FrameStamp:
        """A live source's stamp, with index and epoch continued from the previous decoders."""
        if not self._is_live:
            return stamp
        gap_s, last_s = stamp.gap_s, self._last_wall_s
        if self._is_new_decoder and last_s is not None:
            gap_s = max(gap_s, stamp.wall_s - last_s)
        self._is_new_decoder = False
        self._last_wall_s = stamp.wall_s
        self._last_epoch = stamp.epoch + self._epoch_base
        return replace(
            stamp, index=stamp.index + self._index_base, epoch=self._last_epoch, gap_s=gap_s
        )

    def _restart_or_fail(self, error: DecoderDiedError) -> None:
        try:
            self._restart(error)
        except SourceError as failure:
            self.failure, self.has_no_decoder = failure, True

    def _restart(self, error: DecoderDiedError) -> None:
        """Start another decoder in place of a dead one.

        Raises:
            SourceError: decoders have died too often.
        """
        if not self._budget.note_death():
            raise SourceError(
                f"the decoder of this source has died {self._budget}; the source, or the library "
                "that decodes it, makes it crash"
            ) from error
        # It may only be out of reach, or hang: then it would stay and hold its source for ever.
        self._decoder.close()
        self._ledger.close_feed(LOST)
        self._index_base = self._ledger.decoded
        self._epoch_base = self._last_epoch + 1
        self._is_new_decoder = True
        self._decoder = self._start_decoder()
        self._go_to_position()

    def _go_to_position(self) -> None:
        if self._is_live:
            return
        if self._next_index < 0:
            self.is_end = True
            return
        try:
            self._decoder.begin(self._next_index, reverse=self._reverse)
        except DecoderDiedError as error:
            self._restart(error)
