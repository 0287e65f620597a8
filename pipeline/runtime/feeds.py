"""Sources as decode workers run them: files, streams, pushed frames."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import MaskstreamError, SourceError, StoreError
from maskstream.pipeline.api.commands import error_text
from maskstream.pipeline.api.frame_codec import decode_frame
from maskstream.pipeline.api.options import PUSHED_SOURCE, SessionOptions, source_kind
from maskstream.pipeline.live import DropReason, LiveConfig, LiveFrame, LiveSource, open_live
from maskstream.pipeline.live.sampling import FrameSampler
from maskstream.pipeline.live.thread import cut
from maskstream.pipeline.live.url import parse_address
from maskstream.pipeline.sources import Frame, FrameSource, open_source
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.store.records import PushedFrame
from maskstream.workers.decode import NO_IMAGE, Feed
from maskstream.workers.notes import FrameNote

Image = NDArray[np.uint8]
Given = tuple[FrameNote, Image]


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """What this runtime opens.

    Attributes:
        allowed_schemes: of URLs; None takes the default of the live sources.
        allowed_roots: folders that files must lie in; None allows any.
    """

    allowed_schemes: tuple[str, ...] | None = None
    allowed_roots: tuple[str, ...] | None = None

    def live_config(self, options: SessionOptions) -> LiveConfig:
        roots = self.allowed_roots
        return options.to_live_config(
            allowed_schemes=self.allowed_schemes,
            allowed_roots=None if roots is None else [Path(root) for root in roots],
        )


def open_feed(spec: Mapping[str, Any]) -> Feed:
    """The feed of a session. A source that cannot be opened is told by its first note.

    Args:
        spec: ``store`` (StoreAddress), ``session_id``, ``policy`` (SourcePolicy).
    """
    store: SessionStore = spec["store"].open()
    session_id: str = spec["session_id"]
    record = store.get_session(session_id)
    options = SessionOptions.from_stored(record.options)
    if record.source == PUSHED_SOURCE:
        return PushedFeed(store, session_id, options)
    try:
        source, config = store.reveal_source(session_id), spec["policy"].live_config(options)
        address = parse_address(source, config)
        if is_live(source, options):
            return LiveFeed(open_live(source, config))
        return FileFeed(open_source(address.reveal()), options, config)
    except MaskstreamError as error:
        return FailedFeed(error_text(error))
    finally:
        store.close()


def is_live(source: str, options: SessionOptions) -> bool:
    """Whether frames that were missed can never be had again."""
    kind = source_kind(source)
    return kind in ("stream", "device") or (kind == "file" and options.loop)


class FailedFeed:
    """A source that could not be opened."""

    def __init__(self, message: str) -> None:
        self._note = FrameNote("failed", message=message)

    def begin(self, start: int, *, reverse: bool) -> None:
        return

    def next(self, timeout_s: float) -> Given:
        return self._note, NO_IMAGE

    def read(self, index: int) -> Given:
        return self._note, NO_IMAGE

    def look(self) -> FrameNote:
        return FrameNote("none")

    def note_done(self, index: int) -> None:
        return

    def close(self) -> None:
        return


class FileFeed:
    """A file, folder or picture: nothing is lost, the one who asks sets the pace."""

    def __init__(self, source: FrameSource, options: SessionOptions, config: LiveConfig) -> None:
        self._source = source
        self._options = options
        self._region = config.region
        self._frames: Iterator[Frame] | None = None
        self._sampler = FrameSampler(options.every_nth, options.target_fps)
        self._decoded = 0
        self._skipped = 0

    def begin(self, start: int, *, reverse: bool) -> None:
        """See ``Feed``. What sampling by time keeps depends on the frames before, so these are
        looked at again.
        """
        self._sampler = FrameSampler(self._options.every_nth, self._options.target_fps)
        self._frames = self._iterate(start, reverse)
        self._decoded, self._skipped = 0, 0

    def _iterate(self, start: int, reverse: bool) -> Iterator[Frame]:
        first = start
        if self._options.target_fps is not None and not reverse:
            first = min(start, self._options.start_frame)
        for frame in self._source.iterate(first, reverse=reverse):
            time_s = frame.index / 25 if frame.pts_s is None else frame.pts_s
            kept = self._sampler.keeps(frame.index, 0, time_s)
            if not reverse and frame.index < start:
                continue
            self._decoded += 1
            if kept:
                yield frame
            else:
                self._skipped += 1

    def next(self, timeout_s: float) -> Given:
        if self._frames is None:
            return FrameNote("none"), NO_IMAGE
        try:
            frame = next(self._frames, None)
        except MaskstreamError as error:
            self._frames = None
            return replace(self._note("failed"), message=error_text(error)), NO_IMAGE
        if frame is None:
            return self._note("end"), NO_IMAGE
        return self._told(frame)

    def read(self, index: int) -> Given:
        try:
            return self._told(self._source.read(index))
        except MaskstreamError as error:
            return replace(self._note("failed"), message=error_text(error)), NO_IMAGE

    def look(self) -> FrameNote:
        return self._note("none")

    def note_done(self, index: int) -> None:
        return

    def close(self) -> None:
        self._frames = None
        self._source.close()

    def _told(self, frame: Frame) -> Given:
        image, _ = cut(frame.image, self._region)
        note = replace(
            self._note("frame"),
            index=frame.index,
            pts_s=frame.pts_s,
            wall_s=time.time(),
            size=(image.shape[0], image.shape[1]),
        )
        return note, image

    def _note(self, kind: Any) -> FrameNote:
        dropped = {str(DropReason.SAMPLING): self._skipped} if self._skipped else {}
        return FrameNote(kind, decoded=self._decoded, dropped=dropped)


class LiveFeed:
    """A source that runs by itself; see :class:`maskstream.pipeline.live.LiveSource`."""

    def __init__(self, source: LiveSource) -> None:
        self._source = source

    def begin(self, start: int, *, reverse: bool) -> None:
        return

    def next(self, timeout_s: float) -> Given:
        try:
            frame = self._source.read(timeout_s)
        except SourceError as error:
            return replace(self._note("failed"), message=error_text(error)), NO_IMAGE
        if frame is not None:
            return self._told(frame)
        return self._note("end" if self._source.is_over else "none"), NO_IMAGE

    def read(self, index: int) -> Given:
        return replace(
            self._note("failed"), message="SourceError: a live source cannot go back to a frame"
        ), NO_IMAGE

    def look(self) -> FrameNote:
        return self._note("none")

    def note_done(self, index: int) -> None:
        return

    def close(self) -> None:
        self._source.close()

    def _told(self, frame: LiveFrame) -> Given:
        gap = frame.gap
        note = replace(
            self._note("frame"),
            index=frame.index,
            pts_s=frame.pts_s,
            wall_s=frame.wall_time_s,
            epoch=frame.epoch,
            gap_s=0.0 if gap is None else max(0.0, gap.lost_s),
            num_missed=0 if gap is None else gap.num_frames,
            size=(frame.image.shape[0], frame.image.shape[1]),
        )
        return note, frame.image

    def _note(self, kind: Any) -> FrameNote:
        stats = self._source.stats()
        fault = stats.last_fault
        return FrameNote(
            kind,
            decoded=stats.decoded,
            dropped={str(reason): count for reason, count in stats.dropped.items()},
            epoch=stats.epoch,
            state=str(stats.state),
            last_fault="" if fault is None else f"{fault.kind}: {fault.message}",
        )


class PushedFeed:
    """Frames that a client has put into the store. They are counted from 0 as they were pushed."""

    _PAGE = 4

    def __init__(self, store: SessionStore, session_id: str, options: SessionOptions) -> None:
        self._store = store
        self._session_id = session_id
        self._options = options
        self._config = options.to_live_config()
        self._sampler = FrameSampler(options.every_nth, options.target_fps)
        self._cursor = 0
        self._done = 0
        self._base = 0
        self._waiting: deque[PushedFrame] = deque()
        self._dropped: Counter[str] = Counter()
        self._missed = 0
        self._is_end = False
        self._last: int = 0

    def begin(self, start: int, *, reverse: bool) -> None:
        self._waiting.clear()
        self._cursor = self._base = self._last = self._done = start
        self._dropped.clear()
        self._is_end = False

    def next(self, timeout_s: float) -> Given:
        try:
            return self._next(time.monotonic() + timeout_s)
        except StoreError as error:
            if error.resume_after is not None:  # one frame that cannot be read
                self._cursor = error.resume_after
                return self._note("none"), NO_IMAGE
            raise

    def _next(self, deadline_s: float) -> Given:
        while True:
            if not self._waiting and not self._is_end:
                self._fill(max(0.0, deadline_s - time.monotonic()))
            if not self._waiting:
                return self._note("end" if self._is_end else "none"), NO_IMAGE
            pushed = self._waiting.popleft()
            index = pushed.sequence - 1
            lost = index - self._last
            if lost:
                self._dropped[str(DropReason.QUEUE_FULL)] += lost
                self._missed += lost
            self._last = pushed.sequence
            told = self._picture(pushed, index)
            if told is not None:
                return told
            if time.monotonic() >= deadline_s:
                return self._note("none"), NO_IMAGE

    def _fill(self, timeout_s: float) -> None:
        page = self._store.take_frames(
            self._session_id, self._cursor, done=self._done, count=self._PAGE, timeout_s=timeout_s
        )
        self._waiting.extend(page.frames)
        self._cursor = page.cursor
        self._is_end = page.is_end

    def _picture(self, pushed: PushedFrame, index: int) -> Given | None:
        """None for a frame that is not wanted, or is no picture; it is counted as dropped."""
        stale_s = self._options.stale_after_s
        if stale_s is not None and time.time() - pushed.pushed_s > stale_s:
            self._drop(DropReason.STALE)
            return None
        time_s = index / 25 if pushed.pts_s is None else pushed.pts_s
        if not self._sampler.keeps(index, 0, time_s):
            self._dropped[str(DropReason.SAMPLING)] += 1
            return None
        try:
            image = decode_frame(pushed.blob)
        except MaskstreamError:
            self._drop(DropReason.CORRUPT)
            return None
        image, _ = cut(image, self._config.region)
        missed, self._missed = self._missed, 0
        note = replace(
            self._note("frame"),
            index=index,
            pts_s=pushed.pts_s,
            wall_s=pushed.pushed_s,
            num_missed=missed,
            size=(image.shape[0], image.shape[1]),
        )
        return note, image

    def _drop(self, reason: DropReason) -> None:
        self._dropped[str(reason)] += 1
        self._missed += 1

    def read(self, index: int) -> Given:
        return replace(
            self._note("failed"), message="SourceError: a pushed frame cannot be had again"
        ), NO_IMAGE

    def look(self) -> FrameNote:
        return self._note("none")

    def note_done(self, index: int) -> None:
        self._done = max(self._done, index + 1)

    def close(self) -> None:
        self._store.close()

    def _note(self, kind: Any) -> FrameNote:
        return FrameNote(kind, decoded=self._last - self._base, dropped=dict(self._dropped))
