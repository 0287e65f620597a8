"""Frames that a client has pushed into the store, as a source that runs by itself."""

from __future__ import annotations

import math
import time
from collections import Counter, deque

from maskstream.core.errors import ImageError, StoreError
from maskstream.pipeline.api.frame_codec import decode_frame
from maskstream.pipeline.live import (
    DropReason,
    Gap,
    GapCause,
    LiveConfig,
    LiveFrame,
    LiveState,
    LiveStats,
)
from maskstream.pipeline.live.sampling import FrameSampler
from maskstream.pipeline.live.thread import cut
from maskstream.pipeline.store import PushedFrame, SessionStore

_AT_ONCE = 4


class StoredFrames:
    """Takes a session's pushed frames out of the store. One thread at a time.

    The index of a frame is its place among all that were pushed, so that it jumps where frames
    were dropped: in the store because too many waited, or here because sampling leaves them out,
    they have waited too long, or cannot be decoded.
    """

    def __init__(
        self, store: SessionStore, session_id: str, config: LiveConfig, *, first_index: int = 0
    ) -> None:
        """Begin.

        Args:
            config: sampling, staleness and region of interest; the rest is of no use here.
            first_index: of the first frame to take; those before it are done with.
        """
        self._store = store
        self._session_id = session_id
        self._config = config
        self._sampler = FrameSampler(config.every_nth, config.target_fps)
        self._cursor = first_index
        self._waiting: deque[PushedFrame] = deque()
        self._dropped: Counter[DropReason] = Counter()
        self._num_dropped_in_store = 0
        self._num_delivered = 0
        self._next_index = first_index
        self._num_missing = 0
        self._size: tuple[int, int] | None = None
        self._num_damaged = 0
        self._is_end = False
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether no frame will come any more."""
        return self._is_closed or (self._is_end and not self._waiting)

    @property
    def state(self) -> LiveState:
        """``running`` until the last frame was taken."""
        if self._is_closed:
            return LiveState.CLOSED
        return LiveState.ENDED if self.is_over else LiveState.RUNNING

    def read(self, timeout_s: float | None = None) -> LiveFrame | None:
        """The next frame; None when none came in time, or at the end (see ``is_over``)."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not self.is_over:
            while self._waiting:
                frame = self._open(self._waiting.popleft())
                if frame is not None:
                    return frame
            left_s = deadline - time.monotonic()
            self._fetch(min(max(left_s, 0.0), 1.0))
            if not self._waiting and left_s <= 0:
                return None
        return None

    def stats(self) -> LiveStats:
        """All figures of one moment, as of other sources."""
        dropped = Counter(self._dropped)
        if self._num_dropped_in_store:
            dropped[DropReason.QUEUE_FULL] += self._num_dropped_in_store
        waiting = len(self._waiting)
        return LiveStats(
            state=self.state,
            last_fault=None,
            decoded=self._num_delivered + waiting + sum(dropped.values()),
            delivered=self._num_delivered,
            waiting=waiting,
            dropped=dict(dropped),
            epoch=0,
            num_connections=1,
            num_attempts=1,
            num_stalls=0,
            num_bad_packets=self._num_damaged,
            fps=0.0,
            delivered_fps=0.0,
            lag_s=0.0,
            size=self._size,
            codec=None,
        )

    def close(self) -> None:
        """Drop and count what waits."""
        self._is_closed = True
        if self._waiting:
            self._dropped[DropReason.CLOSED] += len(self._waiting)
            self._waiting.clear()

    def _fetch(self, timeout_s: float) -> None:
        try:
            page = self._store.take_frames(
                self._session_id, self._cursor, count=_AT_ONCE, timeout_s=timeout_s
            )
        except StoreError as error:
            if error.resume_after is None:
                raise
            # A stranger's entry stands where a frame would: it is passed over like a damaged one.
            self._cursor = error.resume_after
            return
        self._waiting.extend(page.frames)
        self._cursor, self._is_end = page.cursor, page.is_end
        self._num_dropped_in_store = page.num_dropped

    def _open(self, pushed: PushedFrame) -> LiveFrame | None:
        index = pushed.sequence - 1
        self._num_missing += index - self._next_index
        self._next_index = index + 1
        reason = self._reason_to_drop(pushed, index)
        if reason is not None:
            self._dropped[reason] += 1
            return None
        try:
            image = decode_frame(pushed.blob)
        except ImageError:
            self._num_damaged += 1
            self._num_missing += 1
            self._dropped[DropReason.CORRUPT] += 1
            return None
        gap = Gap(self._num_missing, 0.0, (GapCause.DROPPED,)) if self._num_missing else None
        self._num_missing = 0
        self._num_delivered += 1
        self._size = image.shape[1], image.shape[0]
        part, crop = cut(image, self._config.region)
        return LiveFrame(index, pushed.pts_s, pushed.pushed_s, 0, gap, part, crop)

    def _reason_to_drop(self, pushed: PushedFrame, index: int) -> DropReason | None:
        time_s = pushed.pushed_s if pushed.pts_s is None else pushed.pts_s
        if not self._sampler.keeps(index, 0, time_s):
            return DropReason.SAMPLING
        limit_s = self._config.stale_after_s
        if limit_s is not None and time.time() - pushed.pushed_s > limit_s:
            self._num_missing += 1
            return DropReason.STALE
        return None
