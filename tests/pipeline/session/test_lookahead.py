"""Frames ahead of the tracker: as many as may be, in order, and nobody waits in vain."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from maskstream.core.frame_stamp import FrameStamp
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import DetectedFrame
from maskstream.pipeline.session.intake import Intake
from maskstream.pipeline.session.lookahead import Lookahead
from maskstream.pipeline.session.ports import Arrival, Detection
from maskstream.workers.local_detect import LocalPendingDetection


@dataclass
class Source:
    """Stands in for an intake: frames come when the test says so."""

    held: deque[Arrival] = field(default_factory=deque)
    word: FutureReference | None = None
    ended: bool = False

    @property
    def is_over(self) -> bool:
        return self.ended and not self.held

    def give(self, *indices: int) -> None:
        self.held.extend(Arrival(FrameStamp(index), index) for index in indices)

    def peek(self, timeout_s: float) -> Arrival | None:
        return self.held[0] if self.held else None

    def take(self) -> Arrival:
        return self.held.popleft()

    def pending_handle(self) -> Any:
        return self.word


class FutureReference:
    """Stands in for Ray's reference."""

    def __init__(self) -> None:
        self.come: Future[None] = Future()

    def future(self) -> Future[None]:
        return self.come


@dataclass
class Workers:
    """Stands in for the detect workers."""

    asked: list[tuple[int, Future[Any]]] = field(default_factory=list)

    def submit(self, frame: Arrival, concepts: list[Any]) -> LocalPendingDetection:
        self.asked.append((frame.image, Future()))
        return LocalPendingDetection(self.asked[-1][1])

    def answer(self, number: int) -> DetectedFrame:
        answer = DetectedFrame(cast(TrackerFeatures, number), cast(Detections, None))
        self.asked[number][1].set_result(answer)
        return answer


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def workers() -> Workers:
    return Workers()


@pytest.fixture
def ahead(source: Source, workers: Workers) -> Lookahead:
    return Lookahead(cast(Intake, source), cast(Detection, workers), depth=2)


def test_as_many_as_there_is_room_for_and_in_order(
    source: Source, workers: Workers, ahead: Lookahead
) -> None:
    source.give(0, 1, 2)
    assert ahead.submit_next([])
    assert ahead.submit_next([])
    assert not ahead.wants_more
    assert [index for index, _ in workers.asked] == [0, 1]
    assert ahead.newest is not None
    assert ahead.newest.index == 1
    second, first = workers.answer(1), workers.answer(0)  # the later one is done first
    assert ahead.take()[1] is first
    assert ahead.wants_more
    assert ahead.submit_next([])
    arrival, answer = ahead.take()
    assert (arrival.stamp.index, answer) == (1, second)


def test_a_source_that_has_none_yet_or_no_more(source: Source, ahead: Lookahead) -> None:
    assert not ahead.submit_next([])
    assert ahead.wants_more
    assert not ahead.wait(0.0)
    source.ended = True
    assert not ahead.wants_more


def test_it_wakes_for_whatever_comes_first(
    source: Source, workers: Workers, ahead: Lookahead
) -> None:
    source.give(0)
    assert ahead.submit_next([])
    source.word = FutureReference()
    threading.Timer(0.05, source.word.come.set_result, [None]).start()
    assert not ahead.wait(30.0)  # a frame is there, the answer is not
    source.word = FutureReference()
    threading.Timer(0.05, workers.answer, [0]).start()
    assert ahead.wait(30.0)


def test_an_error_comes_out_with_its_frame(
    source: Source, workers: Workers, ahead: Lookahead
) -> None:
    source.give(0, 1)
    assert ahead.submit_next([])
    assert ahead.submit_next([])
    workers.asked[0][1].set_exception(ValueError("frame 0"))
    workers.answer(1)
    with pytest.raises(ValueError, match="frame 0"):
        ahead.take()
    assert ahead.take()[0].stamp.index == 1
    assert ahead.newest is None
