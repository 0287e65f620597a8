"""Frames that a client pushes."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskstream.core.errors import ImageError, InputError, SourceError
from maskstream.pipeline.live import DropReason, LiveConfig, LiveState, PushedSource, Region
from tests.pipeline.clips import number_in, numbered_image


def test_pushed_frames_come_in_order_with_their_times() -> None:
    with PushedSource(LiveConfig()) as source:
        for number in range(5):
            assert source.push(numbered_image(number), number / 10)
        source.finish()
        frames = list(source)
        assert source.is_over
        assert source.state == LiveState.ENDED
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.pts_s for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4]
    assert [number_in(frame.image) for frame in frames] == [0, 1, 2, 3, 4]


def test_a_pushed_picture_is_a_copy_and_cropped() -> None:
    image = numbered_image(7)
    with PushedSource(LiveConfig(region=Region(0, 0, 1, 0.5))) as source:
        source.push(image)
        image[:] = 0
        source.push(Image.new("L", (10, 6), 9))
        first, second = source.read(1), source.read(1)
    assert first is not None
    assert second is not None
    assert np.array_equal(first.image, numbered_image(7)[:24])
    assert (second.image.shape, int(second.image[0, 0, 0]), second.epoch) == ((3, 10, 3), 9, 1)


def test_a_push_waits_for_room_and_loses_nothing() -> None:
    with PushedSource(LiveConfig(queue_size=2)) as source:

        def push() -> None:
            for _ in range(25):
                source.push(numbered_image(1))

        threads = [threading.Thread(target=push) for _ in range(2)]
        for thread in threads:
            thread.start()
        frames = [source.read(30) for _ in range(50)]
        for thread in threads:
            thread.join(30)
        assert [frame.index for frame in frames if frame is not None] == list(range(50))
        assert source.stats().dropped == {}


def test_a_push_may_drop_the_oldest_instead() -> None:
    with PushedSource(LiveConfig(queue_size=2, policy="drop_oldest", every_nth=2)) as source:
        kept = [source.push(numbered_image(number)) for number in range(10)]
        stats = source.stats()
        frame = source.read(1)
    assert kept == [True, False] * 5
    assert stats.dropped == {DropReason.SAMPLING: 5, DropReason.QUEUE_FULL: 3}
    assert (stats.decoded, stats.waiting, stats.is_balanced) == (10, 2, True)
    assert frame is not None
    assert (frame.index, frame.gap and frame.gap.num_frames) == (6, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int32),
        np.full((4, 4, 3), np.nan, np.float32),
        np.zeros((101, 100, 3), np.uint8),
        Image.new("RGB", (101, 100)),
        "clip.mp4",
        None,
    ],
    ids=["channels", "axes", "empty", "dtype", "nan", "large", "large PIL", "text", "none"],
)
def test_what_is_no_picture_is_refused_and_changes_nothing(image: Any) -> None:
    with PushedSource(LiveConfig(), max_pixels=10_000) as source:
        with pytest.raises(ImageError):
            source.push(image)
        with pytest.raises(InputError, match="pts_s"):
            source.push(numbered_image(0), math.nan)
        assert source.stats().decoded == 0
        assert source.push(numbered_image(0))


@pytest.mark.parametrize("end", ["finish", "close"])
def test_nothing_is_taken_after_the_end(end: str) -> None:
    source = PushedSource(LiveConfig())
    source.push(numbered_image(0))
    getattr(source, end)()
    with pytest.raises(SourceError, match="no more frames"):
        source.push(numbered_image(1))
    assert len(list(source)) == (1 if end == "finish" else 0)
    source.close()
    assert source.stats().is_balanced


def test_closing_lets_a_waiting_push_go() -> None:
    source = PushedSource(LiveConfig(queue_size=1))
    results: list[bool] = []
    thread = threading.Thread(
        target=lambda: results.extend(source.push(numbered_image(0)) for _ in range(2))
    )
    thread.start()
    while source.stats().waiting < 2:
        assert thread.is_alive()
    source.close()
    thread.join(30)
    assert results == [True, False]
    assert source.stats().dropped == {DropReason.CLOSED: 2}
