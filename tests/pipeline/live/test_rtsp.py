"""Against a real RTSP server, which is killed, frozen and started again.

The proxy in front of it, where there is one, adds passwords and lossy UDP. Upper bounds on times
are those of a machine that is not busy, see ``Stopwatch``; frame counts and numbers are exact.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from maskstream.pipeline.live import (
    DropReason,
    FaultKind,
    GapCause,
    LiveConfig,
    LiveFrame,
    LiveSource,
    LiveSourceError,
    LiveState,
    open_live,
)
from maskstream.pipeline.sources import open_source
from tests.machine import Stopwatch
from tests.pipeline.clips import number_in, numbered_image, write_clip, write_numbered_clip
from tests.pipeline.live.rtsp import Listener, RtspProxy, RtspServer, hang_up
from tests.pipeline.ports import HOST, free_port

NUM_FRAMES = 50
QUICK = LiveConfig(
    backoff_min_s=0.1,
    backoff_max_s=0.5,
    unauthorized_pause_s=0.1,
    stall_timeout_s=5.0,
    queue_size=200,
)
_LONG_S = 40.0


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of two seconds."""
    folder = tmp_path_factory.mktemp("media")
    write_numbered_clip(folder / "clip.mp4", NUM_FRAMES, fps=25, options={"bf": "0", "g": "10"})
    return folder


@pytest.fixture(scope="module")
def shared_server(media: Path) -> Iterator[RtspServer]:
    """For tests that leave it as it is."""
    with RtspServer(media) as running:
        yield running


@pytest.fixture
def server(shared_server: RtspServer) -> Iterator[RtspServer]:
    """For tests that kill or freeze it."""
    yield shared_server
    shared_server.restore()


def _read_until(source: LiveSource, condition: Callable[[LiveFrame], bool]) -> list[LiveFrame]:
    """Frames up to and including the first that meets a condition."""
    frames: list[LiveFrame] = []
    deadline_s = time.monotonic() + _LONG_S
    while not frames or not condition(frames[-1]):
        frame = source.read(deadline_s - time.monotonic())
        assert frame is not None, source.stats()
        assert source.stats().is_balanced
        frames.append(frame)
    return frames


def _check_indices(frames: list[LiveFrame]) -> None:
    """Every index that is missing is told in a gap."""
    for before, frame in itertools.pairwise(frames):
        missing = frame.stamp.index - before.stamp.index - 1
        assert missing == (frame.gap.num_frames if frame.gap else 0)


def test_a_stream_plays_bit_exactly_over_tcp(shared_server: RtspServer, media: Path) -> None:
    with open_source(media / "clip.mp4") as source:
        expected = [frame.image for frame in source]
    with open_live(shared_server.url(play_count=1), QUICK) as live:
        frames = _read_until(live, lambda frame: frame.stamp.index == NUM_FRAMES - 1)
        assert live.wait_for(lambda s: s.last_fault is not None, _LONG_S)
        assert live.last_fault is not None
        assert live.last_fault.kind == FaultKind.DISCONNECTED
    assert [frame.stamp.index for frame in frames] == list(range(NUM_FRAMES))
    assert all(np.array_equal(f.image, e) for f, e in zip(frames, expected, strict=True))
    times = [frame.stamp.pts_s for frame in frames if frame.stamp.pts_s is not None]
    assert len(times) >= NUM_FRAMES - 1
    assert np.diff(times) == pytest.approx(0.04, abs=1e-3)
    assert np.all(np.diff([frame.stamp.wall_s for frame in frames]) >= 0)


def test_it_comes_back_after_the_server_was_killed(server: RtspServer) -> None:
    with open_live(server.url(), QUICK) as live:
        frames = _read_until(live, lambda frame: frame.stamp.index == 9)
        server.kill()
        assert live.wait_for(lambda s: s.state == LiveState.WAITING, _LONG_S)
        assert live.wait_for(
            lambda s: s.last_fault is not None and s.last_fault.kind == FaultKind.REFUSED, _LONG_S
        )
        server.start()
        with Stopwatch() as watch:
            frames += _read_until(live, lambda frame: frame.stamp.epoch == 1)
        frames += _read_until(live, lambda frame: frame.stamp.index == frames[-1].stamp.index + 5)
        stats = live.stats()
    assert watch.seconds < 2
    first = next(frame for frame in frames if frame.stamp.epoch == 1)
    assert number_in(first.image) == 0
    assert first.gap is not None
    assert first.gap.causes == (GapCause.RECONNECT,)
    assert first.gap.lost_s > 0.1
    assert [frame.stamp.index for frame in frames] == list(range(len(frames)))
    assert (stats.num_connections, stats.dropped) == (2, {})


def test_a_frozen_server_sets_the_watchdog_off(server: RtspServer) -> None:
    config = LiveConfig(
        stall_timeout_s=1.0,
        read_timeout_s=20.0,  # far off: it is the watchdog that must act
        open_timeout_s=1.0,
        backoff_min_s=0.1,
        backoff_max_s=0.5,
        queue_size=200,
    )
    with open_live(server.url(), config) as live:
        frames = _read_until(live, lambda frame: frame.stamp.index == 9)
        server.freeze()
        with Stopwatch() as watch:
            assert live.wait_for(lambda s: s.num_stalls == 1, _LONG_S)
        assert watch.seconds < 4
        # Now it accepts and does not answer.
        assert live.wait_for(
            lambda s: s.last_fault is not None and s.last_fault.kind == FaultKind.TIMED_OUT, _LONG_S
        )
        server.thaw()
        with Stopwatch() as watch:
            frames += _read_until(live, lambda frame: frame.stamp.epoch == 1)
        assert watch.seconds < 2
        assert frames[-1].gap is not None
        assert frames[-1].gap.lost_s > 1
        assert live.stats().is_balanced
    _check_indices(frames)
    assert live.wait_released(_LONG_S)


def test_a_short_freeze_goes_by_and_nothing_is_missing(server: RtspServer) -> None:
    with open_live(server.url(), QUICK) as live:
        frames = _read_until(live, lambda frame: frame.stamp.index == 9)
        server.freeze()
        while (frame := live.read(0.8)) is not None:
            frames.append(frame)
        assert live.state == LiveState.RUNNING
        server.thaw()
        frames += _read_until(live, lambda frame: frame.stamp.index >= 30)
        stats = live.stats()
    assert [frame.stamp.index for frame in frames] == list(range(len(frames)))
    assert [number_in(frame.image) for frame in frames] == [
        f.stamp.index % NUM_FRAMES for f in frames
    ]
    assert {(frame.stamp.epoch, frame.gap) for frame in frames} == {(0, None)}
    assert (stats.num_attempts, stats.num_stalls) == (1, 0)


def test_nobody_is_there_yet(media: Path) -> None:
    with (
        RtspServer(media, start=False) as server,
        open_live(server.url(), QUICK) as live,
    ):
        assert live.wait_for(lambda s: s.num_attempts >= 3, _LONG_S)
        assert live.last_fault is not None
        assert live.last_fault.kind == FaultKind.REFUSED
        assert live.stats().decoded == 0
        server.start()
        with Stopwatch() as watch:
            frame = _read_until(live, lambda frame: True)[0]
        assert watch.seconds < 2
        assert (frame.stamp.index, frame.stamp.epoch, frame.gap) == (0, 0, None)


@pytest.mark.parametrize("digest", [False, True], ids=["basic", "digest"])
def test_wrong_credentials_are_told_and_right_ones_work(
    shared_server: RtspServer,
    digest: bool,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    with RtspProxy(shared_server.port, credentials=("Horst", "Eiche/23 @"), digest=digest) as proxy:
        url = shared_server.url(port=proxy.port)
        with open_live(url.replace("://", "://Horst:Buche42@"), QUICK) as live:
            assert live.wait_for(lambda s: s.num_attempts >= 3, _LONG_S)
            assert live.last_fault is not None
            assert live.last_fault.kind == FaultKind.UNAUTHORIZED
            assert proxy.num_refused >= 2
            assert live.stats().decoded == 0
            seen += [repr(live), repr(live.address), repr(live.stats()), str(live.last_fault)]
            seen += [thread.name for thread in threading.enumerate()]
            proxy.credentials = ("Horst", "Buche42")  # the camera gets the source's password
            _read_until(live, lambda frame: frame.stamp.index == 3)
        proxy.credentials = ("Horst", "Eiche/23 @")
        with open_live(url.replace("://", "://Horst:Eiche%2F23%20%40@"), QUICK) as live:
            _read_until(live, lambda frame: frame.stamp.index == 3)
            seen += [repr(live), repr(live.address), repr(live.stats())]
        gone = LiveConfig(max_reconnect_s=0.1)
        with (
            open_live(url.replace("://", "://Horst:Buche42@"), gone) as live,
            pytest.raises(LiveSourceError) as caught,
        ):
            live.read(_LONG_S)
        seen += traceback.format_exception(caught.value)
    written = capfd.readouterr()
    seen += [caplog.text, written.out, written.err]
    assert "unauthorized" in caplog.text
    for secret in ("Horst", "Buche", "Eiche"):
        assert all(secret not in text for text in seen)


def test_an_unknown_path_is_told_and_found_once_it_is_there(
    shared_server: RtspServer, media: Path
) -> None:
    with open_live(shared_server.url("later.mp4"), QUICK) as live:
        assert live.wait_for(lambda s: s.num_attempts >= 2, _LONG_S)
        assert live.last_fault is not None
        assert live.last_fault.kind == FaultKind.NOT_FOUND
        write_numbered_clip(media / "new.mp4", 10, fps=25)
        (media / "new.mp4").rename(media / "later.mp4")
        assert _read_until(live, lambda frame: True)[0].stamp.epoch == 0


def test_another_resolution_after_a_restart(tmp_path: Path) -> None:
    write_numbered_clip(tmp_path / "clip.mp4", 10, fps=25, options={"bf": "0"})
    with RtspServer(tmp_path) as server, open_live(server.url(), QUICK) as live:
        _read_until(live, lambda frame: frame.stamp.index == 5)
        server.kill()
        images = [numbered_image(number, 160, 96) for number in range(10)]
        write_clip(tmp_path / "clip.mp4", images, fps=25, codec="libx265", options={"bf": "0"})
        server.start()
        frame = _read_until(live, lambda frame: frame.stamp.epoch > 0)[-1]
        assert (frame.image.shape, number_in(frame.image)) == ((96, 160, 3), 0)
        assert frame.stamp.epoch == 1
        assert live.wait_for(lambda s: s.codec == "hevc", _LONG_S)
        assert live.stats().size == (160, 96)


def test_a_slow_consumer_gets_the_newest_frames(shared_server: RtspServer) -> None:
    config = LiveConfig(queue_size=3)
    with open_live(shared_server.url(), config) as live:
        frames: list[LiveFrame] = []
        for _ in range(4):
            target = live.stats().decoded + 12
            assert live.wait_for(lambda s, target=target: s.decoded >= target, _LONG_S)
            assert live.stats().is_balanced
            frames += _read_until(live, lambda frame: True)
        stats = live.stats()
    _check_indices(frames)
    assert all(frame.gap is not None for frame in frames)
    assert stats.dropped[DropReason.QUEUE_FULL] == frames[-1].stamp.index + 1 - len(frames) + (
        stats.decoded - frames[-1].stamp.index - 1 - stats.waiting
    )
    assert stats.dropped[DropReason.QUEUE_FULL] > 20
    assert stats.is_balanced


def test_udp_loses_a_share_of_packets_and_goes_on(shared_server: RtspServer, media: Path) -> None:
    noise = np.random.default_rng(0)
    images = []
    for number in range(100):
        image = numbered_image(number, 160, 96)
        image[48:] = noise.integers(0, 255, (48, 160, 3), np.uint8)
        images.append(image)
    write_clip(media / "noise.mp4", images, fps=50, options={"bf": "0", "g": "10", "crf": "20"})
    config = LiveConfig(transport="udp", queue_size=1000, stall_timeout_s=10)
    with RtspProxy(shared_server.port, loss=0.02) as proxy:
        url = shared_server.url("noise.mp4", play_count=1, port=proxy.port)
        with open_live(url, config) as live:
            frames = _read_until(live, lambda frame: frame.stamp.index >= 80)
            stats = live.stats()
        assert proxy.num_lost > 0.005 * proxy.num_udp
    assert proxy.num_udp > 300
    assert (stats.num_attempts, stats.num_stalls) == (1, 0)
    assert {frame.stamp.epoch for frame in frames} == {0}
    _check_indices(frames)
    numbers = [number_in(frame.image) for frame in frames]
    in_order = sum(a < b for a, b in itertools.pairwise(numbers))
    assert in_order > 0.8 * len(numbers)


def test_udp_without_loss_plays_every_frame(shared_server: RtspServer) -> None:
    config = LiveConfig(transport="udp", queue_size=200, stall_timeout_s=10)
    with (
        RtspProxy(shared_server.port) as proxy,
        open_live(shared_server.url(play_count=1, port=proxy.port), config) as live,
    ):
        frames = _read_until(live, lambda frame: frame.stamp.index == NUM_FRAMES - 2)
        assert [number_in(frame.image) for frame in frames] == list(range(NUM_FRAMES - 1))
        assert proxy.num_udp >= NUM_FRAMES - 1


def test_a_server_that_accepts_and_never_answers_times_out() -> None:
    released = threading.Event()
    accepted = threading.Event()

    def serve(client: socket.socket) -> None:
        accepted.set()
        released.wait(60)

    config = LiveConfig(open_timeout_s=0.5, backoff_min_s=0.1)
    with Listener(serve) as listener:
        with open_live(f"rtsp://{HOST}:{listener.port}/x", config) as live:
            assert live.wait_for(lambda s: s.last_fault is not None, 20)
            assert live.last_fault is not None
            assert live.last_fault.kind == FaultKind.TIMED_OUT
        assert accepted.is_set()
        released.set()
    assert live.wait_released(_LONG_S)


@pytest.mark.parametrize("where", ["opening", "reading"])
def test_closing_returns_while_ffmpeg_blocks(server: RtspServer, where: str) -> None:
    config = LiveConfig(open_timeout_s=4, read_timeout_s=4, stall_timeout_s=60, queue_size=200)
    if where == "opening":
        server.freeze()
    live = open_live(server.url(), config)
    if where == "reading":
        _read_until(live, lambda frame: frame.stamp.index == 3)
        server.freeze()
        # Nothing in the pipe any more: FFmpeg waits for the next packet.
        while live.read(0.3) is not None:
            pass
    else:
        assert live.wait_for(lambda s: s.num_attempts == 1, _LONG_S)
    with Stopwatch() as released:
        with Stopwatch() as closed:
            live.close()
        assert live.state == LiveState.CLOSED
        assert live.stats().is_balanced
        assert live.wait_released(_LONG_S)  # by its own time-outs
    assert closed.seconds < 2
    assert released.seconds < 15


def test_closing_a_running_stream_leaves_nothing(shared_server: RtspServer) -> None:
    before = set(threading.enumerate())
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with open_live(shared_server.url(), QUICK) as live:
            _read_until(live, lambda frame: frame.stamp.index == 1)
        assert live.wait_released(_LONG_S)
    assert set(threading.enumerate()) <= before
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_files


def test_a_port_that_speaks_something_else_is_told() -> None:
    def serve(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        hang_up(client)

    with (
        Listener(serve) as listener,
        open_live(f"rtsp://{HOST}:{listener.port}/x", QUICK) as live,
    ):
        assert live.wait_for(lambda s: s.last_fault is not None, 20)
        assert live.last_fault is not None
        assert live.last_fault.kind in (FaultKind.INVALID, FaultKind.UNREACHABLE)
        assert live.last_fault.message.startswith(f"rtsp://{HOST}")


def test_an_unknown_host_is_told() -> None:
    with open_live(f"rtsp://no-such-host.invalid:{free_port()}/x", QUICK) as live:
        assert live.wait_for(lambda s: s.last_fault is not None, _LONG_S)
        assert live.last_fault is not None
        assert live.last_fault.kind == FaultKind.UNREACHABLE
