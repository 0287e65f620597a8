"""The feed of a camera, a stream, or a file played in a loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from maskstream.core.error_text import error_text
from maskstream.core.errors import SourceError
from maskstream.pipeline.live import LiveSource
from maskstream.pipeline.session.feed import NO_IMAGE, Delivery, FrameNote

NO_WAY_BACK = "SourceError: a live source cannot go back to a frame"


class LiveFeed:
    """The feed of a source that continues whether it is read or not; see ``LiveSource``."""

    def __init__(self, source: LiveSource) -> None:
        self._source = source

    def begin(self, start: int, *, reverse: bool) -> None:
        return

    def next(self, timeout_s: float) -> Delivery:
        try:
            frame = self._source.read(timeout_s)
        except SourceError as error:
            return replace(self._note("failed"), message=error_text(error)), NO_IMAGE
        if frame is not None:
            return replace(self._note("frame"), stamp=frame.stamp), frame.image
        return self._note("end" if self._source.is_over else "none"), NO_IMAGE

    def read(self, index: int) -> Delivery:
        return replace(self._note("failed"), message=NO_WAY_BACK), NO_IMAGE

    def look(self) -> FrameNote:
        return self._note("none")

    def note_done(self, index: int) -> None:
        return

    def close(self) -> None:
        self._source.close()

    def _note(self, kind: Literal["frame", "none", "end", "failed"]) -> FrameNote:
        stats = self._source.stats()
        fault = stats.last_fault
        return FrameNote(
            kind,
            decoded=stats.decoded,
            dropped={str(reason): count for reason, count in stats.dropped.items()},
            state=str(stats.state),
            last_fault="" if fault is None else f"{fault.kind}: {fault.message}",
        )
