"""Frames are shown while somebody watches, and cost nothing otherwise."""

from __future__ import annotations

import io
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskstream.core.errors import StoreError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.session.feed import NO_IMAGE, Delivery, FrameNote
from maskstream.pipeline.session.watched_feed import WatchedFeed, small_picture
from maskstream.pipeline.store.pictures import MAX_PICTURE_BYTES, MemoryPictures, picture_key


class Frames:
    """A feed of grey frames, one a second by its own clock."""

    def __init__(self) -> None:
        self.index = 0
        self.is_closed = False

    def begin(self, start: int, *, reverse: bool) -> None:
        self.index = start

    def next(self, timeout_s: float) -> Delivery:
        self.index += 1
        return self.read(self.index)

    def read(self, index: int) -> Delivery:
        stamp = FrameStamp(index, wall_s=float(index), size=(30, 40))
        return FrameNote("frame", stamp), np.full((30, 40, 3), index, np.uint8)

    def look(self) -> FrameNote:
        return FrameNote("none")

    def note_done(self, index: int) -> None:
        return

    def close(self) -> None:
        self.is_closed = True


class Away(MemoryPictures):
    """A store that cannot be reached."""

    num_asked = 0

    def is_watched(self, session_id: str) -> bool:
        self.num_asked += 1
        raise StoreError("gone")


def test_nobody_watches() -> None:
    ring = MemoryPictures()
    feed = WatchedFeed(Frames(), ring, "a")
    for index in range(1, 6):
        note, image = feed.next(0.0)
        assert note.stamp.index == image[0, 0, 0] == index
        assert ring.get("a", picture_key(note.stamp.wall_s)) is None


def test_somebody_watches() -> None:
    ring = MemoryPictures()
    ring.watch("a")
    feed = WatchedFeed(Frames(), ring, "a")
    feed.begin(6, reverse=False)
    note, image = feed.next(0.0)
    shown = ring.get("a", picture_key(note.stamp.wall_s))
    assert shown is not None
    assert np.abs(_pixels(shown).astype(int) - image).max() <= 2


def test_no_more_than_some_a_second() -> None:
    ring = MemoryPictures()
    ring.watch("a")
    clock = count(0.0, 0.01)  # a hundred frames a second
    feed = WatchedFeed(Frames(), ring, "a", clock=lambda: next(clock))
    notes = [feed.next(0.0)[0] for _ in range(100)]
    shown = [ring.get("a", picture_key(note.stamp.wall_s)) is not None for note in notes]
    assert shown[0]
    assert 16 <= sum(shown) <= 20


def test_a_store_that_is_away_is_not_asked_again_and_again() -> None:
    ring = Away()
    feed = WatchedFeed(Frames(), ring, "a")
    for _ in range(10):
        assert feed.next(0.0)[0].kind == "frame"
    assert ring.num_asked == 1


def test_what_is_opened_is_closed() -> None:
    frames, closed = Frames(), []
    WatchedFeed(frames, MemoryPictures(), "a", lambda: closed.append(True)).close()
    assert frames.is_closed
    assert closed == [True]


@pytest.mark.parametrize("size", [(30, 40), (1, 1), (2160, 3840), (4000, 30)])
def test_a_picture_is_small_and_keeps_its_shape(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    picture = small_picture(noise)
    assert picture is not None
    assert len(picture) <= MAX_PICTURE_BYTES
    height, width = _pixels(picture).shape[:2]
    scale = min(1.0, 960 / max(size))
    assert (height, width) == (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    assert NO_IMAGE.size == 0


def _pixels(picture: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture)))
