"""The queue: bounded, in order, and every decoded frame accounted for at every moment."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest

from maskstream.core.errors import SourceError
from maskstream.pipeline.live import DropReason, Gap, GapCause, LiveConfig
from maskstream.pipeline.live.buffer import FrameBuffer, Producer

IMAGE = np.zeros((4, 6, 3), np.uint8)
SIZE = (6, 4)


def _buffer(**options: Any) -> tuple[FrameBuffer, Producer]:
    buffer, producer = FrameBuffer(LiveConfig(**options)), Producer()
    buffer.begin(producer, GapCause.RECONNECT, is_live=False)
    return buffer, producer


def _put(buffer: FrameBuffer, producer: Producer, pts_s: float | None = None, **about: Any) -> bool:
    ticket = buffer.admit(producer, pts_s, SIZE, **about)
    return ticket is not None and buffer.submit(producer, ticket, IMAGE)


def _indices(buffer: FrameBuffer) -> list[int]:
    taken = []
    while (frame := buffer.take(0)) is not None:
        taken.append(frame.stamp.index)
    return taken


def _balance(buffer: FrameBuffer) -> int:
    counts = buffer.counts()
    return counts.decoded - counts.delivered - counts.waiting - sum(counts.dropped.values())


def test_the_oldest_are_dropped_and_the_gap_tells_how_many() -> None:
    buffer, producer = _buffer(queue_size=3)
    for _ in range(5):
        assert _put(buffer, producer)
    first = buffer.take(0)
    assert first is not None
    assert (first.stamp.index, first.gap) == (2, Gap(2, 0.0, (GapCause.DROPPED,)))
    following = buffer.take(0)
    assert following is not None
    assert (following.stamp.index, following.gap) == (3, None)
    counts = buffer.counts()
    assert (counts.decoded, counts.delivered, counts.waiting) == (5, 2, 1)
    assert counts.dropped == {DropReason.QUEUE_FULL: 2}


def test_a_gap_before_a_dropped_frame_is_not_lost() -> None:
    buffer, producer = _buffer(queue_size=1)
    _put(buffer, producer)
    buffer.begin(producer, GapCause.LOOP, is_live=False)
    for _ in range(3):
        _put(buffer, producer)
    frame = buffer.take(0)
    assert frame is not None
    assert (frame.stamp.index, frame.stamp.epoch) == (3, 1)
    assert frame.gap == Gap(3, 0.0, (GapCause.DROPPED, GapCause.LOOP))


def test_corrupt_frames_keep_their_number() -> None:
    buffer, producer = _buffer()
    for is_corrupt in (False, True, True, False):
        _put(buffer, producer, is_corrupt=is_corrupt)
    assert buffer.counts().dropped == {DropReason.CORRUPT: 2}
    assert _indices(buffer) == [0, 3]
    kept, producer = _buffer(drop_corrupt=False)
    assert _put(kept, producer, is_corrupt=True)


def test_sampled_frames_are_no_gap() -> None:
    buffer, producer = _buffer(every_nth=3)
    for _ in range(7):
        _put(buffer, producer)
    frames = [buffer.take(0) for _ in range(3)]
    assert [(frame.stamp.index, frame.gap) for frame in frames if frame] == [
        (i, None) for i in (0, 3, 6)
    ]
    assert buffer.counts().dropped == {DropReason.SAMPLING: 4}


def test_a_gap_before_a_sampled_frame_is_told_with_the_next() -> None:
    buffer, producer = _buffer(every_nth=2)
    _put(buffer, producer)
    buffer.begin(producer, GapCause.LOOP, is_live=False)
    _put(buffer, producer)
    _put(buffer, producer)
    assert buffer.take(0) is not None
    frame = buffer.take(0)
    assert frame is not None
    assert (frame.stamp.index, frame.gap) == (2, Gap(0, 0.0, (GapCause.LOOP,)))


def test_stale_frames_are_dropped_when_asked_for() -> None:
    buffer, producer = _buffer(stale_after_s=0.05)
    _put(buffer, producer)
    _put(buffer, producer)
    assert not threading.Event().wait(0.06)  # the time that makes them stale
    assert buffer.take(0) is None
    assert buffer.counts().dropped == {DropReason.STALE: 2}
    _put(buffer, producer)
    frame = buffer.take(0)
    assert frame is not None
    assert (frame.stamp.index, frame.gap) == (2, Gap(2, 0.0, (GapCause.DROPPED,)))


def test_a_full_queue_makes_the_producer_wait_when_nothing_may_be_lost() -> None:
    buffer, producer = _buffer(queue_size=2, policy="block")
    thread = threading.Thread(target=lambda: [_put(buffer, producer) for _ in range(50)])
    thread.start()
    assert buffer.wait_for(lambda: producer.is_blocked, 10)
    assert (buffer.counts().decoded, buffer.counts().waiting) == (3, 3)
    taken = []
    while len(taken) < 50:
        frame = buffer.take(10)
        assert frame is not None
        taken.append(frame.stamp.index)
    thread.join(10)
    assert taken == list(range(50))
    assert buffer.counts().dropped == {}


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_a_producer_that_waits_is_let_go(end: str) -> None:
    buffer, producer = _buffer(queue_size=1, policy="block")
    results: list[bool] = []
    thread = threading.Thread(
        target=lambda: results.extend(_put(buffer, producer) for _ in range(2))
    )
    thread.start()
    assert buffer.wait_for(lambda: producer.is_blocked, 10)
    if end == "close":
        buffer.close()
    else:
        buffer.cancel(producer)
    thread.join(10)
    assert results == [True, False]
    assert _balance(buffer) == 0
    reason = DropReason.CLOSED if end == "close" else DropReason.ABANDONED
    assert buffer.counts().dropped == {reason: 2 if end == "close" else 1}


def test_a_cancelled_producer_changes_nothing_any_more() -> None:
    buffer, producer = _buffer()
    ticket = buffer.admit(producer, None, SIZE)
    assert ticket is not None
    assert buffer.counts().waiting == 1
    buffer.cancel(producer)
    assert not buffer.submit(producer, ticket, IMAGE)
    buffer.discard(producer)
    assert buffer.admit(producer, None, SIZE) is None
    buffer.begin(producer, GapCause.LOOP, is_live=False)
    counts = buffer.counts()
    assert (counts.decoded, counts.waiting) == (1, 0)
    assert counts.dropped == {DropReason.ABANDONED: 1}
    successor = Producer()
    assert _put(buffer, successor)
    assert _indices(buffer) == [1]


def test_what_waits_is_delivered_before_the_end_and_before_the_error() -> None:
    buffer, producer = _buffer()
    _put(buffer, producer)
    buffer.finish()
    assert not buffer.is_over
    assert _indices(buffer) == [0]
    assert buffer.is_over
    failed, producer = _buffer()
    _put(failed, producer)
    failed.finish(SourceError("gone"))
    assert failed.take() is not None
    for _ in range(2):
        with pytest.raises(SourceError, match="gone"):
            failed.take()


def test_closing_drops_what_waits_and_wakes_the_consumer() -> None:
    buffer, producer = _buffer()
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(buffer.take()))
    thread.start()
    buffer.close()
    thread.join(10)
    assert results == [None]
    assert not _put(buffer, producer)
    assert buffer.is_over


def test_the_account_is_right_whenever_it_is_read() -> None:
    """A producer, a consumer and an auditor at once; images 'convert' between the two calls."""
    buffer, producer = _buffer(queue_size=2, every_nth=2, stale_after_s=0.001)
    num_frames = 3000
    faults: Counter[int] = Counter()
    done = threading.Event()

    def produce() -> None:
        for number in range(num_frames):
            ticket = buffer.admit(producer, None, SIZE, is_corrupt=number % 7 == 0)
            if ticket is not None and number % 5 == 0:
                buffer.discard(producer)
            elif ticket is not None:
                buffer.submit(producer, ticket, IMAGE)
        buffer.finish()

    def audit() -> None:
        while not done.is_set():
            faults[_balance(buffer)] += 1

    threads = [threading.Thread(target=target) for target in (produce, audit)]
    for thread in threads:
        thread.start()
    taken = []
    missing = 0
    while (frame := buffer.take()) is not None:
        taken.append(frame.stamp.index)
        missing += frame.gap.num_frames if frame.gap else 0
    done.set()
    for thread in threads:
        thread.join(10)
    counts = buffer.counts()
    assert set(faults) == {0}
    assert (counts.decoded, counts.delivered, counts.waiting) == (num_frames, len(taken), 0)
    assert taken == sorted(set(taken))
    # Every dropped frame is told of, but for those after the last delivered one.
    last = taken[-1] if taken else -1  # a slow machine can find all of them stale
    untold = num_frames - 1 - last
    dropped = sum(n for reason, n in counts.dropped.items() if reason != DropReason.SAMPLING)
    assert dropped - untold <= missing <= dropped
