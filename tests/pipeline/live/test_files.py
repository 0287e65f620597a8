"""Files, folders, HTTP and camera devices through the same source."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from maskstream.core.errors import InputError, SourceError
from maskstream.pipeline.live import (
    DropReason,
    FaultKind,
    Gap,
    GapCause,
    LiveConfig,
    LiveSource,
    LiveSourceError,
    LiveState,
    Region,
    SourceAddress,
    open_live,
    reader,
)
from maskstream.pipeline.live.reader import StreamReader
from maskstream.pipeline.sources import open_source
from tests.pipeline.clips import number_in, numbered_image, write_numbered_clip
from tests.pipeline.ports import HOST

NUM_FRAMES = 45


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_numbered_clip(path, NUM_FRAMES, options={"bf": "2", "g": "12"})


def test_a_file_comes_whole_and_bit_exact_however_slow_the_consumer(clip: Path) -> None:
    with open_source(clip) as source:
        expected = list(source)
    with open_live(clip, LiveConfig(queue_size=2)) as live:
        assert live.wait_for(lambda s: s.waiting == 3, 30)  # it waits, and drops nothing
        frames = list(live)
        stats = live.stats()
        assert (live.state, live.is_over) == (LiveState.ENDED, True)
    assert [(f.stamp.index, f.stamp.pts_s) for f in frames] == [
        (f.index, f.pts_s) for f in expected
    ]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, expected, strict=True))
    assert {(frame.stamp.epoch, frame.gap) for frame in frames} == {(0, None)}
    assert (stats.decoded, stats.delivered, stats.dropped) == (NUM_FRAMES, NUM_FRAMES, {})


def test_a_loop_counts_on_and_starts_an_epoch_at_every_pass(clip: Path) -> None:
    with open_live(str(clip), LiveConfig(loop=True)) as live:
        frames = [frame for frame, _ in zip(live, range(2 * NUM_FRAMES + 5), strict=False)]
    assert [frame.stamp.index for frame in frames] == list(range(2 * NUM_FRAMES + 5))
    assert [number_in(f.image) for f in frames] == [i % NUM_FRAMES for i in range(len(frames))]
    assert [frame.stamp.epoch for frame in frames] == [i // NUM_FRAMES for i in range(len(frames))]
    gaps = {frame.stamp.index: frame.gap for frame in frames if frame.gap}
    assert gaps == dict.fromkeys((NUM_FRAMES, 2 * NUM_FRAMES), Gap(0, 0.0, (GapCause.LOOP,)))


def test_sampling_and_region(clip: Path) -> None:
    config = LiveConfig(target_fps=10, region=Region(0, 0.5, 1, 1))
    with open_live(clip, config) as live:
        frames = list(live)
        stats = live.stats()
    assert [frame.stamp.index for frame in frames] == list(range(0, NUM_FRAMES, 3))
    assert {frame.image.shape for frame in frames} == {(24, 80, 3)}
    assert frames[0].crop is not None
    assert (frames[0].crop.x, frames[0].crop.y, frames[0].crop.full_height) == (0, 24, 48)
    assert stats.dropped == {DropReason.SAMPLING: NUM_FRAMES - len(frames)}
    assert stats.is_balanced


def test_folders_and_pictures(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(numbered_image(number)).save(tmp_path / f"{number}.png")
    with open_live(tmp_path) as live:
        assert [number_in(frame.image) for frame in live] == [0, 1, 2]
    with open_live(tmp_path / "2.png") as live:
        assert [(f.stamp.index, f.stamp.pts_s, number_in(f.image)) for f in live] == [(0, None, 2)]


def test_a_cut_file_gives_what_it_has_and_then_the_reason(
    streamable: bytes, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(streamable[:-600])
    numbers: list[int] = []
    with (
        open_live(cut, LiveConfig(loop=True)) as live,
        pytest.raises(LiveSourceError, match="truncated") as caught,
    ):
        numbers.extend(number_in(frame.image) for frame in live)
    assert caught.value.fault.kind == FaultKind.INVALID
    assert 0 < len(numbers) < NUM_FRAMES
    assert numbers == list(range(len(numbers)))
    assert live.state == LiveState.FAILED


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    with (
        open_live(tmp_path / "notes.txt") as live,
        pytest.raises(LiveSourceError, match="cannot be read as a video"),
    ):
        live.read(30)
    with pytest.raises(SourceError, match="does not exist"):
        open_live(tmp_path / "missing.mp4")
    with pytest.raises(InputError, match="allowed folders"):
        open_live("/dev/null", LiveConfig(allowed_roots=(tmp_path,)))


def test_a_camera_that_is_not_there_is_told() -> None:
    config = LiveConfig(max_reconnect_s=0.1, backoff_min_s=0.05)
    with (
        open_live("/dev/video97", config) as live,
        pytest.raises(LiveSourceError, match="/dev/video97: ") as caught,
    ):
        live.read(30)
    assert caught.value.fault.kind == FaultKind.NOT_FOUND


def test_without_what_reads_cameras_it_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(av, "formats_available", {"mov,mp4", "v4l2m2m"})
    with (
        open_live("/dev/video0") as live,
        pytest.raises(LiveSourceError, match="built without Video4Linux; install a PyAV") as caught,
    ):
        live.read(30)
    assert caught.value.fault.kind == FaultKind.UNSUPPORTED


def test_a_camera_is_a_live_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none here, so another of FFmpeg's capture devices, its test picture, stands in."""
    monkeypatch.setattr(reader, "_CAMERAS", "lavfi")
    picture = SourceAddress("device", "v4l2", "/dev/video0", "testsrc=size=80x48:rate=50,realtime")
    config = LiveConfig(queue_size=2)
    with LiveSource(picture, config, StreamReader) as live:
        assert live.wait_for(lambda s: s.dropped.get(DropReason.QUEUE_FULL, 0) >= 3, 30)
        frames = [live.read(30) for _ in range(6)]
        stats = live.stats()
        assert live.state == LiveState.RUNNING
    assert stats.is_balanced
    assert stats.num_connections == 1
    indices = [frame.stamp.index for frame in frames if frame is not None]
    assert len(indices) == 6
    assert indices == sorted(set(indices))
    assert frames[0] is not None
    assert (frames[0].image.shape, frames[0].stamp.epoch) == ((48, 80, 3), 0)
    assert frames[0].gap is not None
    assert frames[0].gap.num_frames == indices[0] >= 3


@pytest.fixture(scope="module")
def streamable(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A clip with its index in front."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    in_front = {"movflags": "faststart"}
    write_numbered_clip(path, NUM_FRAMES, options={"bf": "0"}, container_options=in_front)
    return path.read_bytes()


@contextmanager
def _http_server(body: bytes, *, declared: int | None, password: str = "") -> Iterator[str]:
    """Serves one body at any path; ``declared`` None streams it without a length."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if password and f"password={password}" not in self.path:
                self.send_error(403)
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            if declared is not None:
                self.send_header("Content-Length", str(declared))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_a_file_over_http_is_lossless_and_ends(streamable: bytes) -> None:
    with (
        _http_server(streamable, declared=len(streamable), password="hunter2") as url,
        open_live(f"{url}/clip.mp4?password=hunter2", LiveConfig(queue_size=2)) as live,
    ):
        assert [number_in(frame.image) for frame in live] == list(range(NUM_FRAMES))
        assert live.stats().dropped == {}
        assert live.state == LiveState.ENDED
        assert live.address.shown == f"{url}/clip.mp4?password=***"


def test_a_file_over_http_that_ends_early_has_failed(streamable: bytes) -> None:
    numbers: list[int] = []
    with (
        _http_server(streamable[:-600], declared=len(streamable)) as url,
        open_live(f"{url}/clip.mp4") as live,
        pytest.raises(LiveSourceError) as caught,
    ):
        numbers.extend(number_in(frame.image) for frame in live)
    assert caught.value.fault.kind in (FaultKind.DISCONNECTED, FaultKind.TIMED_OUT)
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < NUM_FRAMES


@pytest.mark.parametrize(("path", "kind"), [("ok", "invalid"), ("secret", "unauthorized")])
def test_faults_of_http_are_told_apart(path: str, kind: str) -> None:
    password = "hunter2" if path == "secret" else ""
    with (
        _http_server(b"<html>" * 99, declared=594, password=password) as url,
        open_live(f"{url}/{path}") as live,
    ):
        assert live.wait_for(lambda s: s.last_fault is not None, 30)
        assert live.last_fault is not None
        assert live.last_fault.kind == kind
