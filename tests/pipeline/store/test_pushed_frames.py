"""Pushed frames, read from the store as a source: places, drops and gaps, region, the end."""

from __future__ import annotations

import threading

import numpy as np

from maskstream.pipeline.api.frame_codec import encode_frame
from maskstream.pipeline.live import (
    DropReason,
    Gap,
    GapCause,
    LiveConfig,
    LiveFrame,
    LiveState,
    Region,
)
from maskstream.pipeline.store import MemoryStore, NewSession, SessionLimits
from maskstream.pipeline.store.pushed_frames import StoredFrames
from tests.pipeline.clips import number_in, numbered_image

LONG_S = 30.0
DROPPED = (GapCause.DROPPED,)


def start(num_waiting: int = 8) -> MemoryStore:
    store = MemoryStore()
    limits = SessionLimits(max_waiting_frames=num_waiting)
    store.create_session(NewSession(source="pushed://", session_id="s", limits=limits))
    return store


def push(store: MemoryStore, *numbers: int) -> None:
    for number in numbers:
        store.push_frame("s", encode_frame(numbered_image(number)), number / 10)


def read_all(source: StoredFrames) -> list[LiveFrame]:
    frames = []
    while (frame := source.read(LONG_S)) is not None:
        frames.append(frame)
    return frames


def test_frames_come_in_order_with_their_times_until_the_end() -> None:
    store = start()
    source = StoredFrames(store, "s", LiveConfig())
    assert source.read(0) is None
    assert (source.state, source.is_over) == (LiveState.RUNNING, False)
    push(store, *range(5))
    store.finish_frames("s")
    frames = read_all(source)
    assert (source.state, source.is_over) == (LiveState.ENDED, True)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.pts_s for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4]
    assert [number_in(frame.image) for frame in frames] == [0, 1, 2, 3, 4]
    assert {frame.gap for frame in frames} == {None}


def test_a_reader_that_waits_gets_the_next_frame() -> None:
    store = start()
    source = StoredFrames(store, "s", LiveConfig())
    found: list[LiveFrame | None] = []
    reader = threading.Thread(target=lambda: found.append(source.read(LONG_S)))
    reader.start()
    push(store, 7)
    reader.join(10)
    assert [frame and frame.index for frame in found] == [0]


def test_the_region_of_interest_is_cut_out() -> None:
    store = start()
    push(store, 7)
    store.push_frame("s", encode_frame(np.full((6, 10), 9, np.uint8)))
    store.finish_frames("s")
    first, second = read_all(StoredFrames(store, "s", LiveConfig(region=Region(0, 0, 1, 0.5))))
    assert np.array_equal(first.image, numbered_image(7)[:24])
    assert not first.image.flags.writeable
    assert first.crop is not None
    assert (first.crop.x, first.crop.y, first.crop.full_height) == (0, 0, 48)
    assert (second.image.shape, int(second.image[0, 0, 0])) == ((3, 10, 3), 9)


def test_what_is_missing_is_a_gap_but_what_sampling_leaves_out_is_none() -> None:
    store = start(num_waiting=6)
    push(store, *range(8))  # two more than may wait
    store.push_frame("s", b"no picture")  # and one more
    push(store, 9)  # and one more
    store.finish_frames("s")
    source = StoredFrames(store, "s", LiveConfig(every_nth=2))
    frames = read_all(source)
    assert [(frame.index, frame.gap) for frame in frames] == [
        (4, Gap(4, 0.0, DROPPED)),
        (6, None),
    ]
    stats = source.stats()
    dropped = {DropReason.QUEUE_FULL: 4, DropReason.SAMPLING: 3, DropReason.CORRUPT: 1}
    assert (stats.decoded, stats.delivered, stats.dropped) == (10, 2, dropped)
    assert stats.is_balanced
    assert stats.num_bad_packets == 1


def test_closing_counts_what_waited_and_takes_nothing_more() -> None:
    store = start()
    push(store, 0, 1, 2)
    source = StoredFrames(store, "s", LiveConfig())
    assert source.read(0) is not None
    source.close()
    assert (source.state, source.is_over, source.read(LONG_S)) == (LiveState.CLOSED, True, None)
    stats = source.stats()
    assert (stats.dropped, stats.is_balanced) == ({DropReason.CLOSED: 2}, True)
