"""A feed whose frames are shown to those who watch the session."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

from PIL import Image as Pictures

from maskstream.core.errors import StoreError
from maskstream.pipeline.session.feed import Delivery, Feed, FrameNote, Image
from maskstream.pipeline.store.pictures import MAX_PICTURE_BYTES, PictureRing, picture_key

_LONGEST_SIDE = 960
_MOST_PER_S = 20.0
_LOOK_EVERY_S = 1.0
_PAUSE_S = 5.0  # after the store was out of reach
_QUALITIES = (80, 60, 40)


class WatchedFeed:
    """See :class:`maskstream.pipeline.session.feed.Feed`.

    Promises: while somebody watches the session, small pictures of its frames go into the store's
    ring, 20 a second at most. While nobody does, this costs one question to the store a second.
    When the store cannot be reached, viewers get no pictures for a while; the session goes on.

    Args:
        feed: gives the frames.
        ring: takes the pictures; a store whose calls do not wait long for a server that is away.
        session_id: whose frames they are.
        on_close: called when the feed is closed.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        feed: Feed,
        ring: PictureRing,
        session_id: str,
        on_close: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._ring = ring
        self._session_id = session_id
        self._on_close = on_close
        self._clock = clock
        self._is_watched = False
        self._look_again_s = self._next_s = float("-inf")

    def begin(self, start: int, *, reverse: bool) -> None:
        self._feed.begin(start, reverse=reverse)

    def next(self, timeout_s: float) -> Delivery:
        note, image = self._feed.next(timeout_s)
        self._show(note, image)
        return note, image

    def read(self, index: int) -> Delivery:
        note, image = self._feed.read(index)
        self._show(note, image)
        return note, image

    def look(self) -> FrameNote:
        return self._feed.look()

    def note_done(self, index: int) -> None:
        self._feed.note_done(index)

    def close(self) -> None:
        self._feed.close()
        self._on_close()

    def _show(self, note: FrameNote, image: Image) -> None:
        now_s = self._clock()
        if note.kind != "frame" or now_s < self._next_s:
            return
        try:
            if now_s >= self._look_again_s:
                self._look_again_s = now_s + _LOOK_EVERY_S
                self._is_watched = self._ring.is_watched(self._session_id)
            if self._is_watched:
                self._next_s = now_s + 1.0 / _MOST_PER_S
                picture = small_picture(image)
                if picture is not None:
                    self._ring.put(self._session_id, picture_key(note.stamp.wall_s), picture)
        except StoreError:
            self._is_watched, self._look_again_s = False, now_s + _PAUSE_S


def small_picture(image: Image) -> bytes | None:
    """A frame as a JPEG that fits the ring; None if it does not get small enough.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    picture = Pictures.fromarray(image)
    picture.thumbnail(
        (_LONGEST_SIDE, _LONGEST_SIDE), Pictures.Resampling.BILINEAR, reducing_gap=2.0
    )
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_PICTURE_BYTES:
            return buffer.getvalue()
    return None
