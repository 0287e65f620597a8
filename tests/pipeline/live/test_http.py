"""Files, playlists and cameras over HTTP, as servers send them."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskstream.pipeline.live import (
    FaultKind,
    GapCause,
    HostFilter,
    LiveConfig,
    LiveFrame,
    LiveSourceError,
    LiveState,
    open_live,
)
from maskstream.pipeline.live.mjpeg import split_jpegs
from maskstream.pipeline.live.sampling import FrameSampler
from tests.pipeline.clips import number_in, numbered_image, write_clip, write_numbered_clip
from tests.pipeline.live.web import (
    Handler,
    Route,
    chunked,
    folder,
    giving,
    redirecting,
    serving,
    streaming,
)

NUM_FRAMES = 30


def _play(url: str, hosts: HostFilter | None = None) -> list[LiveFrame]:
    """All frames of a source that ends; none is lost, however slow the consumer is."""
    with open_live(url, LiveConfig(queue_size=2, hosts=hosts)) as live:
        assert live.wait_for(lambda s: s.waiting == 3 or s.last_fault is not None, 60)
        frames = list(live)
        stats = live.stats()
    assert (stats.state, stats.dropped, stats.num_attempts) == (LiveState.ENDED, {}, 1), stats
    assert [number_in(frame.image) for frame in frames] == list(range(len(frames)))
    times = [frame.stamp.pts_s for frame in frames if frame.stamp.pts_s is not None]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert {frame.stamp.epoch for frame in frames} == {0}
    return frames


@pytest.mark.parametrize("as_served", [giving, streaming, chunked])
@pytest.mark.parametrize("suffix", ["webm", "mkv", "ts", "flv", "mp4", "avi"])
def test_a_body_that_ends_is_read_once_without_loss(
    tmp_path: Path, suffix: str, as_served: Callable[[bytes], Route]
) -> None:
    codec = "libvpx" if suffix == "webm" else "libx264"
    # As recorders that cannot go back and fill in the duration.
    options = {"live": "1"} if suffix in ("webm", "mkv") else {}
    path = write_numbered_clip(
        tmp_path / f"clip.{suffix}", NUM_FRAMES, codec=codec, container_options=options
    )
    with serving({f"/{path.name}": as_served(path.read_bytes())}) as web:
        frames = _play(f"{web.url}/{path.name}")
    assert len(frames) == NUM_FRAMES


def test_a_body_without_a_length_that_breaks_off_is_no_end(tmp_path: Path) -> None:
    body = write_numbered_clip(tmp_path / "clip.ts", NUM_FRAMES, options={"bf": "0"}).read_bytes()

    def cut(handler: Handler) -> None:
        handler.begin(200, "video/mp2t", Transfer_Encoding="chunked")
        handler.chunk(body)  # and no last chunk

    config = LiveConfig(queue_size=100, backoff_min_s=0.05)
    with serving({"/clip.ts": cut}) as web, open_live(f"{web.url}/clip.ts", config) as live:
        assert live.wait_for(lambda s: s.num_connections == 2, 60)
        assert live.last_fault is not None
        assert live.last_fault.kind == FaultKind.DISCONNECTED


def test_a_body_without_an_end_is_live_and_comes_back(tmp_path: Path) -> None:
    """It is open for longer than a file that is that small."""
    body = write_numbered_clip(
        tmp_path / "clip.ts", 60, fps=20, options={"bf": "0", "g": "5"}
    ).read_bytes()

    has_frames = threading.Event()

    def camera(handler: Handler) -> None:
        handler.begin(200, "video/mp2t")
        late = len(body) // 188 * 9 // 10 * 188
        handler.wfile.write(body[:late])
        while not has_frames.wait(0.05):
            handler.wfile.write(b"\x47\x1f\xff\x10" + b"\xff" * 184)  # a packet that holds nothing
        handler.wfile.write(body[late:])

    config = LiveConfig(queue_size=1000, backoff_min_s=0.05)
    with serving({"/live": camera}) as web, open_live(f"{web.url}/live", config) as live:
        frames = []
        while not frames or frames[-1].stamp.epoch == 0:
            frame = live.read(60)
            assert frame is not None
            frames.append(frame)
            has_frames.set()
        assert live.last_fault is not None
        assert live.last_fault.kind == FaultKind.DISCONNECTED
    assert [number_in(frame.image) for frame in frames] == [*range(60), 0]
    assert frames[-1].gap is not None
    assert frames[-1].gap.causes == (GapCause.RECONNECT,)


def _segments(path: Path, *lengths: int) -> Path:
    """A playlist of segments that each start at 0."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:3"]
    for number, length in enumerate(lengths):
        start = sum(lengths[:number])
        numbered = [numbered_image(start + index) for index in range(length)]
        write_clip(path / f"s{number}.ts", numbered, fps=25, options={"bf": "0"})
        lines += ["#EXT-X-DISCONTINUITY"] if number else []
        lines += [f"#EXTINF:{length / 25},", f"s{number}.ts"]
    playlist = path / "v.m3u8"
    playlist.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    return playlist


def test_a_playlist_whose_segments_each_start_at_0(tmp_path: Path) -> None:
    _segments(tmp_path, 60, 12, 12)
    with serving(folder(tmp_path)) as web:
        frames = _play(f"{web.url}/v.m3u8")
    assert len(frames) == 84
    times = [frame.stamp.pts_s or 0.0 for frame in frames]
    assert np.diff(times) == pytest.approx(0.04, abs=0.002)


def test_a_playlist_that_was_moved_and_its_cookie(tmp_path: Path) -> None:
    _segments(tmp_path, 12)
    files = folder(tmp_path)

    def with_cookie(handler: Handler) -> None:
        if "pass=1" in handler.headers.get("Cookie", ""):
            files["/s0.ts"](handler)
        else:
            handler.send_error(403)

    def moved(handler: Handler) -> None:
        handler.begin(
            302, "text/plain", Location="/deep/v.m3u8", Set_Cookie="pass=1; Path=/",
            Content_Length="0",
        )  # fmt: skip

    routes = {"/v.m3u8": moved, "/deep/v.m3u8": files["/v.m3u8"], "/deep/s0.ts": with_cookie}
    with serving(routes) as web:
        assert len(_play(f"{web.url}/v.m3u8")) == 12


def test_a_playlist_with_encrypted_segments(tmp_path: Path) -> None:
    key, info = tmp_path / "key", tmp_path / "info"
    key.write_bytes(bytes(range(16)))
    info.write_text(f"key\n{key}\n{'0a' * 16}\n")
    options = {"hls_key_info_file": str(info), "hls_playlist_type": "vod", "hls_time": "0.2"}
    write_numbered_clip(tmp_path / "v.m3u8", 12, options={"g": "5"}, container_options=options)
    with serving(folder(tmp_path)) as web:
        assert len(_play(f"{web.url}/v.m3u8", HostFilter(("127.0.0.1",)))) == 12


def test_byte_ranges_of_a_playlist(tmp_path: Path) -> None:
    options = {"hls_flags": "single_file", "hls_playlist_type": "vod", "hls_time": "0.2"}
    write_numbered_clip(tmp_path / "v.m3u8", 12, options={"g": "5"}, container_options=options)
    assert "BYTERANGE" in (tmp_path / "v.m3u8").read_text()
    files = folder(tmp_path)
    with serving(files) as web:
        assert len(_play(f"{web.url}/v.m3u8")) == 12
    whole = (tmp_path / "v.ts").read_bytes()
    with serving(files | {"/v.ts": lambda handler: handler.give(whole, ranges=False)}) as web:
        assert len(_play(f"{web.url}/v.m3u8")) == 12


def test_passwords_go_to_their_host_and_to_no_other(tmp_path: Path) -> None:
    body = write_numbered_clip(tmp_path / "clip.mkv", 12).read_bytes()
    seen: list[tuple[str, str | None]] = []
    expected = "Basic " + base64.b64encode(b"admin:p@ss/1").decode()

    def protected(handler: Handler) -> None:
        given = handler.headers.get("Authorization")
        seen.append((handler.path, given))
        if given == expected:
            handler.give(body)
        else:
            handler.begin(401, "text/plain", WWW_Authenticate='Basic realm="x"', Content_Length="0")

    def plain(handler: Handler) -> None:
        seen.append((handler.path, handler.headers.get("Authorization")))
        handler.give(body)

    with serving({"/plain": plain}, "127.0.0.2") as other:
        routes = {"/clip.mkv": protected, "/away": redirecting(f"{other.url}/plain")}
        with serving(routes) as web:
            url = web.url.replace("://", "://admin:p%40ss%2F1@")
            assert len(_play(f"{url}/clip.mkv")) == 12
            assert len(_play(f"{url}/away")) == 12
            with open_live(f"{web.url}/clip.mkv", LiveConfig(max_reconnect_s=0.1)) as live:
                with pytest.raises(LiveSourceError) as caught:
                    live.read(60)
                assert caught.value.fault.kind == FaultKind.UNAUTHORIZED
    assert ("/clip.mkv", expected) in seen
    assert ("/plain", None) in seen
    assert ("/plain", expected) not in seen


def test_digest_passwords(tmp_path: Path) -> None:
    body = write_numbered_clip(tmp_path / "clip.mkv", 12).read_bytes()

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    def protected(handler: Handler) -> None:
        given = dict(re.findall(r'(\w+)="([^"]*)"', handler.headers.get("Authorization", "")))
        expected = md5(md5("admin:x:p@ss") + ":1:" + md5(f"GET:{given.get('uri')}"))
        if given.get("response") == expected:
            handler.give(body)
        else:
            told = 'Digest realm="x", nonce="1"'
            handler.begin(401, "text/plain", WWW_Authenticate=told, Content_Length="0")

    with serving({"/clip.mkv": protected}) as web:
        url = web.url.replace("://", "://admin:p%40ss@")
        assert len(_play(f"{url}/clip.mkv")) == 12


def test_a_server_that_trickles_is_given_up() -> None:
    stop = threading.Event()

    def header(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        while not stop.wait(0.05):
            handler.wfile.write(b"a")

    def body(handler: Handler) -> None:
        handler.begin(200, "video/mp4", Content_Length="99999")
        while not stop.wait(0.05):
            handler.wfile.write(b"a")

    config = LiveConfig(open_timeout_s=0.4, read_timeout_s=0.4, max_reconnect_s=0.1)
    with serving({"/header": header, "/body": body}) as web:
        for path in ("header", "body"):
            with open_live(f"{web.url}/{path}", config) as live:
                with pytest.raises(LiveSourceError) as caught:
                    live.read(60)
                assert caught.value.fault.kind == FaultKind.TIMED_OUT, path
                assert live.wait_released(30)
        stop.set()


def jpeg(number: int, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(numbered_image(number)).save(stream, "jpeg", quality=95, **options)
    return stream.getvalue()


def _parts(*, first_is_jpeg: bool, with_length: bool, number: int) -> bytes:
    """A picture as cameras send it."""
    data = jpeg(number)
    length = f"Content-Length: {len(data)}\r\n" if with_length else ""
    head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode()
    return (b"" if first_is_jpeg and number == 0 else head) + data + b"\r\n"


@pytest.mark.parametrize(
    ("first_is_jpeg", "with_length", "is_told"),
    [(False, True, True), (False, False, True), (True, False, True), (True, True, False)],
)
def test_motion_jpeg_has_the_times_of_its_arrival(
    first_is_jpeg: bool, with_length: bool, is_told: bool
) -> None:
    """A camera of five frames a second, of which five are wanted: all are used."""
    pause_s = 0.2
    got = threading.Semaphore(0)

    def camera(handler: Handler) -> None:
        multipart = "multipart/x-mixed-replace; boundary=frame"
        handler.begin(200, multipart if is_told else "application/octet-stream")
        for number in range(5):
            handler.wfile.write(
                _parts(first_is_jpeg=first_is_jpeg, with_length=with_length, number=number)
            )
            handler.wfile.flush()
            got.acquire(timeout=60)
            time.sleep(pause_s)  # its pace

    config = LiveConfig(target_fps=5, queue_size=100)
    times = []
    with serving({"/video": camera}) as web, open_live(f"{web.url}/video", config) as live:
        for number in range(5):
            frame = live.read(60)
            assert frame is not None
            assert number_in(frame.image) == number
            assert frame.stamp.pts_s is not None
            times.append(frame.stamp.pts_s)
            got.release()
        assert live.stats().dropped == {}
    assert times[0] == 0.0
    assert min(np.diff(times)) > 0.9 * pause_s


def test_a_camera_that_ends_its_pictures_is_asked_again() -> None:
    def camera(handler: Handler) -> None:
        handler.begin(200, "multipart/x-mixed-replace; boundary=frame")
        for number in range(3):
            handler.wfile.write(_parts(first_is_jpeg=False, with_length=True, number=number))

    config = LiveConfig(queue_size=100, backoff_min_s=0.05)
    with serving({"/video": camera}) as web, open_live(f"{web.url}/video", config) as live:
        frames = [frame for frame, _ in zip(live, range(4), strict=False)]
    assert [number_in(frame.image) for frame in frames] == [0, 1, 2, 0]
    assert frames[3].stamp.epoch == 1


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_jpegs_are_cut_out_wherever_the_pieces_end(size: int) -> None:
    whole = [
        jpeg(0),
        jpeg(1, progressive=True),
        jpeg(2, comment=b"\xff\xd8\xff\xd9 \xff\xd8\xff"),
        jpeg(3, subsampling=2, restart_marker_rows=1),
    ]
    stream = io.BytesIO(
        b"--frame\r\n\r\n" + whole[0] + b"\r\n--frame\r\n\r\n" + whole[1] + whole[2]
        + whole[0][:-50] + b"\xff\xd8" + whole[3][2:] + b"--frame--"
    )  # fmt: skip
    assert list(split_jpegs(lambda: stream.read(size))) == whole


def test_arrivals_that_jitter_or_bunch_up_are_all_kept_and_no_more_than_wanted() -> None:
    def kept(times: list[float], fps: float) -> int:
        sampler = FrameSampler(1, fps)
        return sum(sampler.keeps(i, 0, t, has_arrived=True) for i, t in enumerate(times))

    rng = np.random.default_rng(0)
    jittered = [0.2 * i + rng.uniform(-0.08, 0.08) for i in range(100)]
    assert kept(jittered, 5) == 100
    bunched = [float(np.ceil(0.2 * i)) for i in range(100)]
    assert kept(bunched, 5) == 100
    fast = [i / 30 for i in range(300)]
    assert kept(fast, 10) in (100, 101)
