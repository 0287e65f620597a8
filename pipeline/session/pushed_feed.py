"""The feed of frames that a client pushes into the store."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import replace
from typing import Literal

from maskstream.core.errors import MaskstreamError, StoreError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.api.frame_codec import decode_frame
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.live import DropReason
from maskstream.pipeline.live.sampling import FrameSampler
from maskstream.pipeline.live.thread import cut
from maskstream.pipeline.session.feed import NO_IMAGE, Delivery, FrameNote
from maskstream.pipeline.session.file_feed import ASSUMED_FPS
from maskstream.pipeline.store import PushedFrame, SessionStore

_FRAMES_AT_ONCE = 4
_GONE = "SourceError: a pushed frame cannot be had again"


class PushedFeed:
    """The feed of pushed frames, in the order of pushing. Indices count from 0.

    Frames that the feed has taken stay in the store until ``note_done``, so that a session can
    repeat them from its checkpoint.
    """

    def __init__(self, store: SessionStore, session_id: str, options: SessionOptions) -> None:
        self._store = store
        self._session_id = session_id
        self._options = options
        self._region = options.to_live_config().region
        self._sampler = FrameSampler(options.every_nth, options.target_fps)
        self._cursor = 0
        self._done = 0
        self._first = 0
        self._next = 0
        self._waiting: deque[PushedFrame] = deque()
        self._dropped: Counter[str] = Counter()
        self._is_end = False

    def begin(self, start: int, *, reverse: bool) -> None:
        self._waiting.clear()
        self._cursor = self._first = self._next = self._done = start
        self._dropped.clear()
        self._is_end = False

    def next(self, timeout_s: float) -> Delivery:
        try:
            return self._wait_for_frame(time.monotonic() + timeout_s)
        except StoreError as error:
            if error.resume_after is None:
                raise
            self._cursor = error.resume_after  # skip one frame that cannot be read
            return self._note("none"), NO_IMAGE

    def _wait_for_frame(self, deadline_s: float) -> Delivery:
        while True:
            if not self._waiting and not self._is_end:
                self._take_page(max(0.0, deadline_s - time.monotonic()))
            if not self._waiting:
                return self._note("end" if self._is_end else "none"), NO_IMAGE
            delivery = self._open(self._waiting.popleft())
            if delivery is not None:
                return delivery
            if time.monotonic() >= deadline_s:
                return self._note("none"), NO_IMAGE

    def _take_page(self, timeout_s: float) -> None:
        page = self._store.take_frames(
            self._session_id,
            self._cursor,
            done=self._done,
            count=_FRAMES_AT_ONCE,
            timeout_s=timeout_s,
        )
        self._waiting.extend(page.frames)
        self._cursor = page.cursor
        self._is_end = page.is_end

    def _open(self, pushed: PushedFrame) -> Delivery | None:
        """Decode a pushed frame; None if it is left out, and then it is counted as dropped."""
        index = pushed.sequence - 1
        if index > self._next:
            self._dropped[str(DropReason.QUEUE_FULL)] += index - self._next
        self._next = pushed.sequence
        reason = self._reason_to_drop(pushed, index)
        if reason is not None:
            self._dropped[str(reason)] += 1
            return None
        try:
            whole = decode_frame(pushed.blob)
        except MaskstreamError:
            self._dropped[str(DropReason.CORRUPT)] += 1
            return None
        image, _ = cut(whole, self._region)
        stamp = FrameStamp(
            index, pushed.pts_s, pushed.pushed_s, size=(image.shape[0], image.shape[1])
        )
        return replace(self._note("frame"), stamp=stamp), image

    def _reason_to_drop(self, pushed: PushedFrame, index: int) -> DropReason | None:
        stale_s = self._options.stale_after_s
        if stale_s is not None and time.time() - pushed.pushed_s > stale_s:
            return DropReason.STALE
        time_s = index / ASSUMED_FPS if pushed.pts_s is None else pushed.pts_s
        return None if self._sampler.keeps(index, 0, time_s) else DropReason.SAMPLING

    def read(self, index: int) -> Delivery:
        return replace(self._note("failed"), message=_GONE), NO_IMAGE

    def look(self) -> FrameNote:
        return self._note("none")

    def note_done(self, index: int) -> None:
        self._done = max(self._done, index + 1)

    def close(self) -> None:
        return

    def _note(self, kind: Literal["frame", "none", "end", "failed"]) -> FrameNote:
        return FrameNote(kind, decoded=self._next - self._first, dropped=dict(self._dropped))
