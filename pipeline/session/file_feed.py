"""The feed of a file, folder or picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from maskstream.core.error_text import error_text
from maskstream.core.errors import InputError, MaskstreamError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.live import DropReason, LiveConfig
from maskstream.pipeline.live.sampling import FrameSampler
from maskstream.pipeline.live.thread import cut
from maskstream.pipeline.session.feed import NO_IMAGE, Delivery, FrameNote
from maskstream.pipeline.sources import Frame, FrameSource

# Frames per second that sampling assumes if a source has no time stamps.
ASSUMED_FPS = 25


class FailedFeed:
    """The feed of a source that could not be opened: it reports the reason with every note."""

    def __init__(self, message: str) -> None:
        self._note = FrameNote("failed", message=message)

    def begin(self, start: int, *, reverse: bool) -> None:
        return

    def next(self, timeout_s: float) -> Delivery:
        return self._note, NO_IMAGE

    def read(self, index: int) -> Delivery:
        return self._note, NO_IMAGE

    def look(self) -> FrameNote:
        return FrameNote("none")

    def note_done(self, index: int) -> None:
        return

    def close(self) -> None:
        return


class FileFeed:
    """The feed of a file, folder or picture. It decodes frames on request, so none is lost."""

    def __init__(self, source: FrameSource, options: SessionOptions, config: LiveConfig) -> None:
        self._source = source
        self._options = options
        self._region = config.region
        self._frames: Iterator[Frame] | None = None
        self._goes_on_at: int | None = None
        self._sampler = FrameSampler(options.every_nth, options.target_fps)
        self._decoded = 0
        self._skipped = 0

    def begin(self, start: int, *, reverse: bool) -> None:
        """See ``Feed``.

        With ``target_fps``, the frames before ``start`` are decoded again, because they decide
        which later frames sampling keeps.
        """
        self._sampler = FrameSampler(self._options.every_nth, self._options.target_fps)
        self._frames = self._iterate(start, reverse)
        self._goes_on_at = start if not reverse and start > self._options.start_frame else None
        self._decoded, self._skipped = 0, 0

    def _iterate(self, start: int, reverse: bool) -> Iterator[Frame]:
        first = start
        if self._options.target_fps is not None and not reverse:
            first = min(start, self._options.start_frame)
        for frame in self._source.iterate(first, reverse=reverse):
            time_s = frame.index / ASSUMED_FPS if frame.pts_s is None else frame.pts_s
            kept = self._sampler.keeps(frame.index, 0, time_s)
            if not reverse and frame.index < start:
                continue
            self._decoded += 1
            if kept:
                yield frame
            else:
                self._skipped += 1

    def next(self, timeout_s: float) -> Delivery:
        if self._frames is None:
            return FrameNote("none"), NO_IMAGE
        try:
            frame = next(self._frames, None)
        except MaskstreamError as error:
            self._frames = None
            if self._goes_on_behind_the_last(error):
                return self._note("end"), NO_IMAGE
            return self._failed(error)
        return (self._note("end"), NO_IMAGE) if frame is None else self._delivery(frame)

    def _goes_on_behind_the_last(self, error: MaskstreamError) -> bool:
        """Whether this feed goes on for one that died when it had given the last frame."""
        start = self._goes_on_at
        if start is None or self._decoded or not isinstance(error, InputError):
            return False
        return self.read(start - 1)[0].kind == "frame"

    def read(self, index: int) -> Delivery:
        try:
            return self._delivery(self._source.read(index))
        except MaskstreamError as error:
            return self._failed(error)

    def look(self) -> FrameNote:
        return self._note("none")

    def note_done(self, index: int) -> None:
        return

    def close(self) -> None:
        self._frames = None
        self._source.close()

    def _delivery(self, frame: Frame) -> Delivery:
        image, _ = cut(frame.image, self._region)
        stamp = FrameStamp(
            frame.index, frame.pts_s, time.time(), size=(image.shape[0], image.shape[1])
        )
        return replace(self._note("frame"), stamp=stamp), image

    def _failed(self, error: MaskstreamError) -> Delivery:
        return replace(self._note("failed"), message=error_text(error)), NO_IMAGE

    def _note(self, kind: Literal["frame", "none", "end", "failed"]) -> FrameNote:
        dropped = {str(DropReason.SAMPLING): self._skipped} if self._skipped else {}
        return FrameNote(kind, decoded=self._decoded, dropped=dropped)
