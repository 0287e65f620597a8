"""Nothing that FFmpeg opens by itself leaves the allowed folders, or this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image

from maskstream.core.errors import InputError, SourceError
from maskstream.pipeline.sources import open_source
from tests.pipeline.clips import numbered_image, write_numbered_clip
from tests.pipeline.live.rtsp import Listener
from tests.pipeline.ports import HOST

NUM_FRAMES = 10
Refused = (InputError, SourceError)


class Place:
    """A folder that is allowed, with a clip in it, and one that is not."""

    def __init__(self, folder: Path) -> None:
        self.root, self.outside = folder / "root", folder / "outside"
        for each in (self.root, self.outside):
            each.mkdir()
            write_numbered_clip(each / "clip.ts", NUM_FRAMES, options={"bf": "0"})
        self.secret = self.outside / "clip.ts"
        (self.root / "link.ts").symlink_to(self.secret)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text)
        return path

    def playlist(self, name: str, *segments: object, before: str = "") -> Path:
        lines = "".join(f"#EXTINF:0.4,\n{segment}\n" for segment in segments)
        head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        return self.write(name, f"{head}{before}{lines}#EXT-X-ENDLIST\n")

    def count(self, path: Path) -> int:
        """Frames of a source of which only the root is allowed."""
        with open_source(path, allowed_roots=[self.root]) as source:
            return source.count_frames()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_playlist_inside_the_root_plays_what_lies_there(place: Place) -> None:
    place.playlist("inner.m3u8", "clip.ts")
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\ninner.m3u8\n"
    for path in (
        place.playlist("list.m3u8", "clip.ts"),
        place.playlist("absolute.m3u8", place.root / "clip.ts"),
        place.playlist("url.m3u8", f"file://{place.root}/clip.ts"),
        place.write("master.m3u8", master),
    ):
        assert place.count(path) == NUM_FRAMES


@pytest.mark.parametrize("named", ["{secret}", "../outside/clip.ts", "link.ts", "file://{secret}"])
def test_no_playlist_names_a_file_outside(place: Place, named: str) -> None:
    named = named.format(secret=place.secret)
    path = place.playlist("list.m3u8", named)
    with pytest.raises(InputError, match=r"names .* does not lie in one of the allowed folders"):
        place.count(path)
    with open_source(path) as source:  # where any file may be opened, this one may
        assert source.count_frames() == NUM_FRAMES


def test_no_later_part_of_a_playlist_leads_outside(place: Place) -> None:
    path = place.playlist("list.m3u8", "clip.ts", place.secret)
    with pytest.raises(Refused, match="does not lie in one of the allowed folders"):
        place.count(path)


@pytest.mark.parametrize(
    "tag",
    [
        '#EXT-X-KEY:METHOD=AES-128,URI="{outside}/key"\n',
        '#EXT-X-MAP:URI="{outside}/clip.ts"\n',
    ],
)
def test_no_key_and_no_header_of_a_playlist_lies_outside(place: Place, tag: str) -> None:
    (place.outside / "key").write_bytes(bytes(16))
    path = place.playlist("list.m3u8", "clip.ts", before=tag.format(outside=place.outside))
    with pytest.raises(InputError, match="does not lie in one of the allowed folders"):
        place.count(path)


@pytest.mark.parametrize("kind", ["SUBTITLES", "AUDIO", "VIDEO"])
def test_no_rendition_of_a_playlist_lies_outside(place: Place, kind: str) -> None:
    place.playlist("inner.m3u8", "clip.ts")
    (place.outside / "other.m3u8").write_text((place.root / "inner.m3u8").read_text())
    path = place.write(
        "master.m3u8",
        f'#EXTM3U\n#EXT-X-MEDIA:TYPE={kind},GROUP-ID="x",NAME="x",'
        f'URI="{place.outside}/other.m3u8"\n'
        f'#EXT-X-STREAM-INF:BANDWIDTH=1000,{kind}="x"\ninner.m3u8\n',
    )
    with pytest.raises(InputError, match="does not lie in one of the allowed folders"):
        place.count(path)


def test_nested_playlists_lead_nowhere(place: Place) -> None:
    place.playlist("outer.m3u8", place.secret)
    (place.root / "renamed.ts").write_bytes((place.root / "outer.m3u8").read_bytes())
    (place.root / "listed.ts").write_text(f"ffconcat version 1.0\nfile '{place.secret.name}'\n")
    for name in ("outer.m3u8", "renamed.ts", "listed.ts"):
        with pytest.raises(Refused):
            place.count(place.playlist("list.m3u8", name))
    master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{place.root}/outer.m3u8\n"
    with pytest.raises(Refused):
        place.count(place.write("master.m3u8", master))


@pytest.mark.parametrize("name", ["list.ffconcat", "list.mp4", "list.ts", "list"])
@pytest.mark.parametrize("named", ["outer.m3u8", "link.ts", "clip.ts", "{secret}"])
def test_lists_of_ffmpeg_are_not_followed_in_a_root(place: Place, name: str, named: str) -> None:
    place.playlist("outer.m3u8", place.secret)
    text = f"ffconcat version 1.0\nfile '{named.format(secret=place.secret)}'\n"
    with pytest.raises(SourceError, match="cannot be read as a video"):
        place.count(place.write(name, text))


def test_a_list_is_followed_where_any_file_may_be_opened_and_to_media_only(place: Place) -> None:
    path = place.write("list.ffconcat", "ffconcat version 1.0\nfile clip.ts\nfile clip.ts\n")
    with open_source(path) as source:
        assert source.count_frames() == 2 * NUM_FRAMES
    place.playlist("outer.m3u8", place.secret)
    path = place.write("list.ffconcat", "ffconcat version 1.0\nfile outer.m3u8\n")
    with pytest.raises(SourceError, match="cannot be read as a video"):
        open_source(path)


@pytest.mark.parametrize("name", ["list.mp4", "list.txt", "list"])
def test_a_playlist_is_none_under_another_name(place: Place, name: str) -> None:
    path = place.playlist("list.m3u8", place.root / "clip.ts").rename(place.root / name)
    for roots in (None, [place.root]):
        with pytest.raises(SourceError, match="cannot be read as a video"):
            open_source(path, allowed_roots=roots)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "x.sdp",
            "v=0\r\no=- 0 0 IN IP4 {host}\r\nc=IN IP4 {host}\r\nm=video {port} RTP/AVP 96\r\n",
        ),
        ("x.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nhttp://{host}:{port}/x.ts\n"),
        ("y.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\ntcp://{host}:{port}\n"),
        ("x.ffconcat", "ffconcat version 1.0\nfile 'http://{host}:{port}/x.ts'\n"),
        ("x.mpd", "<?xml version='1.0'?><MPD><BaseURL>http://{host}:{port}/</BaseURL></MPD>"),
        ("x.ram", "rtsp://{host}:{port}/x\n"),
        ("x.asx", "[Reference]\nRef1=http://{host}:{port}/x.asf\n"),
    ],
)
def test_no_file_makes_ffmpeg_call_anybody(tmp_path: Path, name: str, text: str) -> None:
    calls: list[object] = []
    with Listener(calls.append) as listener:
        path = tmp_path / name
        path.write_text(text.format(host=HOST, port=listener.port))
        for roots in (None, [tmp_path]):
            with pytest.raises(Refused):
                open_source(path, allowed_roots=roots)
    assert calls == []


def test_a_pattern_is_a_name_and_nothing_else(place: Place) -> None:
    """FFmpeg would read ``still%d.jp2`` as ``still0.jp2``, ``still1.jp2``, and follow the links."""
    (place.outside / "still.jp2").write_bytes(b"secret")
    (place.root / "still0.jp2").symlink_to(place.outside / "still.jp2")
    for name in ("still%d.jp2", "still%01d.dpx"):
        with pytest.raises(SourceError, match="does not exist"):
            place.count(place.root / name)
        (place.root / name).write_bytes(b"no picture")
        with pytest.raises(SourceError, match=r"cannot be read as a video|not a picture"):
            place.count(place.root / name)


def test_a_clip_whose_name_is_a_pattern(place: Place) -> None:
    assert place.count((place.root / "clip.ts").rename(place.root / "clip%03d.ts")) == NUM_FRAMES


@pytest.mark.parametrize("name", ["cam:1.mp4", "2024-05-01T12:30:05.mp4", "file:odd.mp4",
                                  "concat:a.mp4", "http:x.mp4", "subfile,,start,0,end,9,,:x.mp4",
                                  "-x.mp4", "a b#c?d.mp4"])  # fmt: skip
def test_names_that_look_like_a_protocol_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_numbered_clip(tmp_path / "plain.mp4", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, Path(name)):
        with open_source(path) as source:
            assert (source.count_frames(), source.info.name) == (3, name)


@pytest.mark.parametrize("link", [os.symlink, pytest.param(os.link, id="hard link")])
def test_links_in_a_folder_of_pictures(place: Place, link: Callable[[Path, Path], None]) -> None:
    """A symbolic link leads outside; a hard link is the file itself, and lies where it lies."""
    for number in range(2):
        Image.fromarray(numbered_image(number)).save(place.root / f"{number}.png")
    Image.fromarray(numbered_image(2)).save(place.outside / "2.png")
    assert place.count(place.root) == 2
    link(place.outside / "2.png", place.root / "2.png")
    with open_source(place.root, allowed_roots=[place.root]) as source:
        if link is os.symlink:
            with pytest.raises(InputError, match="allowed folders"):
                source.read(2)
        else:
            assert source.read(2).index == 2


def test_a_file_outside_is_refused_whatever_leads_there(place: Place) -> None:
    (place.root / "folder").symlink_to(place.outside)
    for path in (place.secret, place.root / "link.ts", place.root / "folder",
                 place.root / "../outside/clip.ts", place.outside / "missing.ts"):  # fmt: skip
        with pytest.raises(InputError, match="allowed folders"):
            open_source(path, allowed_roots=[place.root])


def test_encrypted_playlists_play(place: Place) -> None:
    key, info = place.root / "key", place.root / "info"
    key.write_bytes(bytes(range(16)))
    info.write_text(f"key\n{key}\n{'0a' * 16}\n")
    options = {"hls_key_info_file": str(info), "hls_playlist_type": "vod", "hls_time": "0.2"}
    path = write_numbered_clip(
        place.root / "list.m3u8", NUM_FRAMES, options={"g": "5"}, container_options=options
    )
    assert "AES-128" in path.read_text()
    assert place.count(path) == NUM_FRAMES


def _boxes(data: bytes, *names: bytes) -> list[int]:
    """Where the boxes of an MP4 start that lie in each other (ISO/IEC 14496-12, 4.2)."""
    starts, inside = [], 0
    for name in names:
        start = data.index(name, inside) - 4
        starts.append(start)
        inside = start + 8
    return starts


def _with_reference(clip: Path, target: Path) -> bytes:
    """An MP4 whose pictures lie in another file, as QuickTime's aliases say (dref, alis)."""
    data = bytearray(clip.read_bytes())
    starts = _boxes(bytes(data), b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    dref = starts[-1]
    old = int.from_bytes(data[dref : dref + 4], "big")
    named = str(target).encode()
    volume, name = b"x".ljust(27, b"\0"), target.name.encode().ljust(63, b"\0")
    alias = bytes(10) + b"\1" + volume + bytes(12) + bytes([len(target.name)]) + name + bytes(16)
    alias += bytes(4) + bytes(16)  # it names an absolute path, below
    alias += (2).to_bytes(2, "big") + len(named).to_bytes(2, "big") + named + bytes(len(named) % 2)
    alias += b"\xff\xff\0\0"
    entry = b"alis" + bytes(4) + alias
    entry = (4 + len(entry)).to_bytes(4, "big") + entry
    box = b"dref" + bytes(4) + (1).to_bytes(4, "big") + entry
    box = (4 + len(box)).to_bytes(4, "big") + box
    for start in starts[:-1]:
        size = int.from_bytes(data[start : start + 4], "big") + len(box) - old
        data[start : start + 4] = size.to_bytes(4, "big")
    data[dref : dref + old] = box
    return bytes(data)


def test_no_reference_of_a_movie_leads_outside(place: Place) -> None:
    """FFmpeg follows it if it is asked to: the same file plays then."""
    clip = write_numbered_clip(place.outside / "clip.mp4", NUM_FRAMES)
    movie = place.root / "movie.mov"
    movie.write_bytes(_with_reference(clip, clip))
    asked = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(movie), options=asked) as container:
        assert sum(1 for _ in container.decode(video=0)) == NUM_FRAMES
    for roots in (None, [place.root]):
        with pytest.raises(SourceError, match="no frame can be decoded"):
            open_source(movie, allowed_roots=roots)


def test_nothing_else_opens_media_to_read_it() -> None:
    root = Path(__file__).parents[3]
    files = [path for name in ("pipeline", "workers") for path in (root / name).rglob("*.py")]
    found = {path.relative_to(root).as_posix() for path in files if "av.open(" in path.read_text()}
    assert found == {"pipeline/sources/media.py", "pipeline/sinks/overlay_video.py"}  # it writes
