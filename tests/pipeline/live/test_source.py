"""The supervisor: reconnects, watches, gives up, closes. No network: connections are told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from maskstream.pipeline.live import (
    DropReason,
    FaultKind,
    Gap,
    GapCause,
    LiveConfig,
    LiveFrame,
    LiveSource,
    LiveSourceError,
    LiveState,
    Region,
    parse_address,
)
from tests.pipeline.clips import number_in
from tests.pipeline.live.fakes import FakeConnector, FakeFrame, numbered, playing

FAST: dict[str, Any] = {
    "backoff_min_s": 0.01,
    "backoff_max_s": 0.02,
    "unauthorized_pause_s": 0.02,
    "stall_timeout_s": 30.0,
    "queue_size": 100,
}


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What blocked connections wait for; released at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def _open(connector: FakeConnector, url: str = "rtsp://cam/", **options: Any) -> LiveSource:
    config = LiveConfig(**{**FAST, **options})
    return LiveSource(parse_address(url, config), config, connector, rng=random.Random(0))


def _read(source: LiveSource, num_frames: int) -> list[LiveFrame]:
    frames = []
    for _ in range(num_frames):
        frame = source.read(30)
        assert frame is not None
        frames.append(frame)
    return frames


def test_it_reconnects_and_counts_on(held: threading.Event) -> None:
    connector = FakeConnector(
        FaultKind.REFUSED,
        playing(*numbered(0, 1, 2), FaultKind.DISCONNECTED),
        FaultKind.REFUSED,
        FaultKind.TIMED_OUT,
        playing(*numbered(0, 1), held),
    )
    with _open(connector) as source:
        frames = _read(source, 5)
        assert source.wait_for(lambda s: s.state == LiveState.RUNNING, 30)
        stats = source.stats()
    assert [frame.stamp.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.stamp.epoch for frame in frames] == [0, 0, 0, 1, 1]
    assert [number_in(frame.image) for frame in frames] == [0, 1, 2, 0, 1]
    assert [frame.gap is None for frame in frames] == [True, True, True, False, True]
    gap = frames[3].gap
    assert gap is not None
    assert gap.causes == (GapCause.RECONNECT,)
    assert 0.02 < gap.lost_s < 30
    assert (stats.num_attempts, stats.num_connections, stats.epoch) == (5, 2, 1)
    assert (stats.decoded, stats.delivered, stats.codec, stats.size) == (5, 5, "fake", (80, 48))
    assert stats.last_fault is not None
    assert stats.last_fault.kind == FaultKind.TIMED_OUT
    assert all(connection.is_closed for connection in connector.connections[:1])


def test_the_watchdog_leaves_a_connection_that_gives_nothing(held: threading.Event) -> None:
    connector = FakeConnector(playing(*numbered(0), held), playing(*numbered(7), held))
    started_s = time.monotonic()
    with _open(connector, stall_timeout_s=0.2) as source:
        frames = _read(source, 2)
        assert time.monotonic() - started_s >= 0.2
        stats = source.stats()
        assert [number_in(frame.image) for frame in frames] == [0, 7]
        assert frames[1].stamp.epoch == 1
        assert stats.num_stalls >= 1
        assert stats.last_fault is not None
        assert stats.last_fault.kind == FaultKind.STALLED


def test_no_more_than_a_few_readers_ever_hang(held: threading.Event) -> None:
    connector = FakeConnector(playing(*numbered(0), held))
    before = threading.active_count()
    with _open(connector, stall_timeout_s=0.02) as source:
        assert source.wait_for(lambda s: s.num_stalls == 3, 30)
        assert source.wait_for(lambda s: s.state == LiveState.WAITING, 30)
        assert not source.wait_for(lambda s: s.num_attempts > 3, 0.3)
        assert threading.active_count() <= before + 4
        held.set()
        assert source.wait_for(lambda s: s.num_attempts > 3, 30)
    assert source.wait_released(30)


def test_a_frame_that_arrives_after_its_connection_was_left_is_not_let_in() -> None:
    late = threading.Event()
    forever = threading.Event()
    connector = FakeConnector(
        playing(*numbered(0), late, *numbered(500)), playing(*numbered(1), forever)
    )
    with _open(connector, stall_timeout_s=0.1) as source:
        frames = _read(source, 2)
        late.set()
        assert not source.wait_for(lambda s: s.decoded > 2 + s.num_stalls, 0.2)
        assert [number_in(frame.image) for frame in frames] == [0, 1]
        forever.set()


@pytest.mark.parametrize("where", ["opening", "reading", "pausing"])
def test_closing_never_waits_for_a_blocked_call(where: str, held: threading.Event) -> None:
    connector = {
        "opening": FakeConnector(held),
        "reading": FakeConnector(playing(*numbered(0), held)),
        "pausing": FakeConnector(FaultKind.REFUSED),
    }[where]
    source = _open(connector, backoff_min_s=60, backoff_max_s=60)
    state = {"opening": "connecting", "reading": "running", "pausing": "waiting"}[where]
    assert source.wait_for(lambda s: s.state == state and s.num_attempts == 1, 30)
    started_s = time.monotonic()
    source.close()
    assert time.monotonic() - started_s < 2
    assert (source.state, source.is_over, source.read()) == (LiveState.CLOSED, True, None)
    assert list(source) == []
    source.close()
    held.set()
    assert source.wait_released(30)
    assert source.stats().is_balanced


def test_it_gives_up_when_told_to() -> None:
    connector = FakeConnector(playing(*numbered(0, 1), FaultKind.DISCONNECTED), FaultKind.REFUSED)
    with _open(connector, max_reconnect_s=0.3) as source:
        frames: list[LiveFrame] = []
        with pytest.raises(LiveSourceError, match=r"rtsp://cam/: as told \(refused\)") as caught:
            frames.extend(source)
        assert caught.value.fault.kind == FaultKind.REFUSED
        assert source.state == LiveState.FAILED
    assert source.state == LiveState.FAILED


def test_what_will_never_work_fails_at_once() -> None:
    with (
        _open(FakeConnector(FaultKind.UNSUPPORTED)) as source,
        pytest.raises(LiveSourceError, match="unsupported"),
    ):
        source.read(30)
    assert source.stats().num_attempts == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_is_not_taken_for_the_end() -> None:
    def broken(address: object) -> Any:
        raise ZeroDivisionError

    with (
        _open(FakeConnector(broken)) as source,
        pytest.raises(LiveSourceError, match="defect"),
    ):
        source.read(30)
    assert source.wait_released(30)


def test_refused_credentials_are_not_tried_again_at_once_and_not_shown() -> None:
    connector = FakeConnector(FaultKind.UNAUTHORIZED)
    with _open(connector, "rtsp://u:wrong@cam/", unauthorized_pause_s=600) as source:
        assert source.wait_for(lambda s: s.state == LiveState.WAITING, 30)
        fault = source.last_fault
        assert fault is not None
        assert (fault.kind, "wrong" in fault.message) == (FaultKind.UNAUTHORIZED, False)
        assert source.address.shown == "rtsp://***@cam/"
        assert not source.wait_for(lambda s: s.num_attempts > 1, 0.2)
    assert connector.addresses == ["rtsp://u:wrong@cam/"]


def test_jumps_and_new_sizes_are_told(held: threading.Event) -> None:
    frames = [
        FakeFrame(0, None),
        FakeFrame(1, 95000.0),
        FakeFrame(2, 95000.04),
        FakeFrame(3, 0.02),
        FakeFrame(4, 0.06, (160, 96)),
    ]
    with _open(FakeConnector(playing(*frames, held)), region=Region(0, 0, 1, 0.5)) as source:
        given = _read(source, 5)
        assert source.stats().size == (160, 96)
    assert [frame.stamp.epoch for frame in given] == [0, 0, 0, 1, 2]
    causes = [frame.gap.causes if frame.gap else () for frame in given]
    assert causes == [(), (), (), (GapCause.PTS_JUMP,), (GapCause.RESOLUTION,)]
    assert [frame.image.shape for frame in given[-2:]] == [(24, 80, 3), (48, 160, 3)]
    assert given[-1].crop is not None
    assert (given[-1].crop.full_width, given[-1].crop.full_height) == (160, 96)
    assert not given[0].image.flags.writeable


def test_a_slow_consumer_loses_the_oldest(held: threading.Event) -> None:
    connector = FakeConnector(playing(*numbered(*range(50)), held))
    with _open(connector, queue_size=4) as source:
        assert source.wait_for(lambda s: s.decoded == 50 and s.waiting == 4, 30)
        frames = _read(source, 4)
        stats = source.stats()
    assert [frame.stamp.index for frame in frames] == [46, 47, 48, 49]
    assert frames[0].gap == Gap(46, 0.0, (GapCause.DROPPED,))
    assert stats.dropped == {DropReason.QUEUE_FULL: 46}
    assert (stats.delivered, stats.waiting, stats.is_balanced) == (4, 0, True)


def test_back_pressure_is_no_stall(held: threading.Event) -> None:
    connector = FakeConnector(playing(*numbered(*range(20)), held))
    with _open(connector, queue_size=2, policy="block", stall_timeout_s=0.2) as source:
        assert source.wait_for(lambda s: s.waiting == 3, 30)
        assert not source.wait_for(lambda s: s.num_stalls > 0, 0.5)
        assert [frame.stamp.index for frame in _read(source, 20)] == list(range(20))
        assert source.stats().dropped == {}


def test_a_picture_that_cannot_be_converted_is_counted(held: threading.Event) -> None:
    frames = [FakeFrame(0), FakeFrame(1, is_broken=True), FakeFrame(2)]
    with _open(FakeConnector(playing(*frames, held))) as source:
        assert [frame.stamp.index for frame in _read(source, 2)] == [0, 2]
        assert source.stats().dropped == {DropReason.CORRUPT: 1}


def test_closing_counts_what_waited(held: threading.Event) -> None:
    source = _open(FakeConnector(playing(*numbered(0, 1, 2), held)))
    assert source.wait_for(lambda s: s.waiting == 3, 30)
    source.close()
    stats = source.stats()
    assert stats.dropped == {DropReason.CLOSED: 3}
    assert (stats.decoded, stats.waiting, stats.is_balanced) == (3, 0, True)
