"""Sources: every way in, exact frame numbers, right colours, clear errors."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from maskstream.core.errors import ImageError, InputError, SourceError
from maskstream.pipeline.sources import (
    ArraySource,
    Frame,
    FrameSource,
    VideoSource,
    open_source,
    picture_to_rgb,
)
from maskstream.pipeline.sources.anchors import Anchor, KeyframeAnchors
from maskstream.pipeline.sources.truncation import num_missing_bytes
from tests.pipeline.clips import (
    number_in,
    numbered_image,
    set_display_matrix,
    write_clip,
    write_numbered_clip,
)

NUM_FRAMES = 45
_VFR = [333 + 10 * i + (7 if i % 3 else 0) for i in range(NUM_FRAMES)]
_B_FRAMES = {"bf": "3", "g": "12"}
CLIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "b-frames": ("clip.mp4", {"options": _B_FRAMES}),
    "long gop": ("clip.mp4", {"options": {"bf": "2", "g": "300"}}),
    "all intra": ("clip.mp4", {"options": {"g": "1"}}),
    "open gop, vfr, late start, mp4": (
        "clip.mp4",
        {"options": {**_B_FRAMES, "x264-params": "open-gop=1"}, "ticks": _VFR},
    ),
    "vfr, late start, mkv": ("clip.mkv", {"options": _B_FRAMES, "ticks": _VFR}),
    "open gop, vfr, late start, ts": (
        "clip.ts",
        {"options": {**_B_FRAMES, "x264-params": "open-gop=1"}, "ticks": _VFR},
    ),
    "avi with b-frames, pts out of order": ("clip.avi", {"options": _B_FRAMES}),
    "raw stream without pts": ("clip.h264", {"options": _B_FRAMES}),
    "vp9": ("clip.webm", {"codec": "libvpx-vp9", "options": {"g": "10", "deadline": "realtime"}}),
    "mpeg4": ("clip.avi", {"codec": "mpeg4", "options": {"g": "9"}}),
}


@pytest.fixture(scope="module", params=list(CLIPS), ids=list(CLIPS))
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, options = CLIPS[request.param]
    path = tmp_path_factory.mktemp("clip") / name
    return write_numbered_clip(path, NUM_FRAMES, **options)


def test_sequential_reading_counts_from_zero(clip: Path) -> None:
    with open_source(clip) as source:
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(NUM_FRAMES))
        assert [number_in(frame.image) for frame in frames] == list(range(NUM_FRAMES))
        assert source.count_frames() == NUM_FRAMES
        assert (source.info.width, source.info.height, source.info.kind) == (80, 48, "video")


def test_random_access_gives_the_frames_of_sequential_access(clip: Path) -> None:
    with open_source(clip) as source:
        expected = list(source)
        for index in (0, 44, 1, 30, 29, 11, 12, 13, 37, 5, 5, 23, 22, 24, 0):
            frame = source.read(index)
            assert frame.index == index
            assert frame.pts_s == expected[index].pts_s
            assert np.array_equal(frame.image, expected[index].image)


def test_random_access_before_anything_was_decoded(clip: Path) -> None:
    with open_source(clip) as source:
        assert number_in(source.read(31).image) == 31


@pytest.mark.parametrize(("start", "stop"), [(None, None), (44, 3), (20, None), (13, 12)])
def test_backward_is_forward_turned_round(clip: Path, start: int | None, stop: int | None) -> None:
    # The buffer holds 8 frames, fewer than a key-frame interval.
    with VideoSource(clip, reverse_buffer_bytes=1) as source:
        frames = list(source.iterate(start, stop, reverse=True))
    first = NUM_FRAMES - 1 if start is None else start
    expected = list(range(first, -1 if stop is None else stop, -1))
    assert [frame.index for frame in frames] == expected
    assert [number_in(frame.image) for frame in frames] == expected


def test_start_and_stop(clip: Path) -> None:
    with open_source(clip, start_frame=17) as source:
        assert [number_in(frame.image) for frame in source] == list(range(17, NUM_FRAMES))
        assert [frame.index for frame in source.iterate(20, 23)] == [20, 21, 22]
        assert [frame.index for frame in source.iterate(40, 999)] == [40, 41, 42, 43, 44]
        assert list(source.iterate(20, 20)) == []


def test_iterations_do_not_disturb_each_other(clip: Path) -> None:
    with open_source(clip) as source:
        pairs = zip(source.iterate(10, 20), source.iterate(30, 20, reverse=True), strict=True)
        for step, (up, down) in enumerate(pairs):
            assert number_in(up.image) == 10 + step
            assert number_in(down.image) == 30 - step
            assert number_in(source.read(step).image) == step


def test_times_are_those_of_the_container(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mkv", NUM_FRAMES, ticks=_VFR, options=_B_FRAMES)
    with open_source(clip) as source:
        times = [frame.pts_s for frame in source]
    assert times == pytest.approx([tick / 300 for tick in _VFR], abs=1e-3)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, -1)),  # a quarter turn clockwise: top left goes to top right
        ((-1, 0, 0, -1), (-1, -1)),
        ((0, -1, 1, 0), (-1, 0)),
        ((-1, 0, 0, 1), (0, -1)),  # mirrored
        ((0, 1, 1, 0), (0, 0)),  # transposed
    ],
)
def test_rotation_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    image = np.zeros((48, 80, 3), np.uint8)
    image[:16, :16] = 255
    clip = write_clip(tmp_path / "clip.mp4", [image] * 3)
    set_display_matrix(clip, *matrix)
    with open_source(clip) as source:
        shown = source.read(1).image
    assert shown.shape == ((80, 48, 3) if matrix[0] == 0 else (48, 80, 3))
    assert (source.info.height, source.info.width) == shown.shape[:2]
    bright = [c for c in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if shown[c][0] > 128]
    assert bright == [corner]


@pytest.mark.parametrize(
    ("matrix", "full_range", "tags"),
    [
        ("bt601", False, {}),
        ("bt601", False, {"colorspace": 5, "color_range": 1}),
        ("bt709", False, {"colorspace": 1, "color_range": 1}),
        ("bt709", True, {"colorspace": 1, "color_range": 2}),
        ("bt601", True, {"colorspace": 6, "color_range": 2}),
    ],
)
def test_colour_matrix_and_range(
    tmp_path: Path, matrix: str, full_range: bool, tags: dict[str, int]
) -> None:
    y, u, v = 120, 90, 180
    path = tmp_path / "clip.mp4"
    planes = np.concatenate([np.full(64 * 48, y), np.full(64 * 12, u), np.full(64 * 12, v)])
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(
            planes.astype(np.uint8).reshape(72, 64), format="yuv420p"
        )
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
            setattr(frame, name, value)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # ITU-R BT.601 / BT.709 by definition.
    k_r, k_b = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    luma, scale = (y / 255, 255) if full_range else ((y - 16) / 219, 224)
    red = luma + 2 * (1 - k_r) * (v - 128) / scale
    blue = luma + 2 * (1 - k_b) * (u - 128) / scale
    green = (luma - k_r * red - k_b * blue) / (1 - k_r - k_b)
    with open_source(path) as source:
        pixel = source.read(0).image[20, 20]
    assert pixel == pytest.approx(np.array([red, green, blue]) * 255, abs=2)


@pytest.mark.parametrize(("width", "height"), [(81, 47), (33, 49), (1, 1), (2, 1)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    images = [np.full((height, width, 3), 200, np.uint8)] * 3
    clip = write_clip(tmp_path / "clip.mkv", images, codec="ffv1", pix_fmt="bgr0")
    with open_source(clip) as source:
        for frame in source:
            assert frame.image.shape == (height, width, 3)
            assert frame.image.flags.c_contiguous
            assert (frame.image == 200).all()


def test_a_size_change_is_scaled_to_the_first_size(tmp_path: Path) -> None:
    parts = [tmp_path / "a.h264", tmp_path / "b.h264"]
    write_clip(parts[0], [numbered_image(i) for i in range(6)])
    write_clip(parts[1], [numbered_image(i, 160, 96) for i in range(6, 12)])
    clip = tmp_path / "joined.h264"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(clip) as source:
        frames = list(source)
        assert [number_in(frame.image) for frame in frames] == list(range(12))
        assert {frame.image.shape for frame in frames} == {(48, 80, 3)}
        assert number_in(source.read(9).image) == 9


def test_memory_stays_bounded_on_a_single_long_interval(tmp_path: Path) -> None:
    clip = write_numbered_clip(
        tmp_path / "clip.mp4", 200, options={"g": "500", "preset": "ultrafast"}
    )
    with VideoSource(clip, reverse_buffer_bytes=40 * 80 * 48 * 2) as source:
        numbers = [number_in(frame.image) for frame in source.iterate(reverse=True)]
    assert numbers == list(range(199, -1, -1))


def test_joining_between_two_key_frames(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.ts", 60, options={"g": "20", "bf": "0"})
    cut = tmp_path / "cut.ts"
    cut.write_bytes(clip.read_bytes()[188 * 30 :])
    with open_source(cut) as source:
        numbers = [number_in(frame.image) for frame in source]
        assert numbers[0] > 0
        assert numbers == list(range(numbers[0], 60))
        assert [f.index for f in source] == list(range(len(numbers)))
        assert number_in(source.read(len(numbers) - 1).image) == 59
        assert number_in(source.read(0).image) == numbers[0]


# An AVI ends with a long index.
@pytest.mark.parametrize(
    ("name", "kept"), [("clip.mp4", 0.6), ("clip.mkv", 0.6), ("clip.avi", 0.2)]
)
def test_truncated_files_give_what_they_have_and_then_say_so(
    tmp_path: Path, name: str, kept: float
) -> None:
    clip = write_numbered_clip(
        tmp_path / name,
        150,
        options={"g": "25", "bf": "2", "qp": "1"},
        container_options={"movflags": "faststart"} if name == "clip.mp4" else {},
    )
    whole = clip.read_bytes()
    clip.write_bytes(whole[: int(len(whole) * kept)])
    assert num_missing_bytes(clip) >= int(len(whole) * (1 - kept)) - 8
    frames: list[Frame] = []
    with open_source(clip) as source:
        with pytest.raises(SourceError, match=r"truncated.*decoding stopped after frame \d+"):
            frames.extend(source)
        numbers = [number_in(frame.image) for frame in frames]
        # The very last frames can lack a B-frame between them.
        assert numbers[:-3] == list(range(len(numbers) - 3))
        assert 25 < len(numbers) < 150
        # An AVI has no presentation times.
        if name != "clip.avi":
            expected = [number / 30 for number in numbers]
            assert [frame.pts_s for frame in frames] == pytest.approx(expected, abs=1e-3)
        assert number_in(source.read(20).image) == 20
        with pytest.raises(SourceError, match="truncated"):
            source.read(149)
        with pytest.raises(SourceError, match="truncated"):
            source.count_frames()


def test_an_mp4_without_its_index_is_no_video(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 30)
    clip.write_bytes(clip.read_bytes()[:1000])
    with pytest.raises(SourceError, match="cannot be read as a video"):
        open_source(clip)


def test_a_broken_packet_ends_the_video_with_an_error(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mov", 40, codec="png", pix_fmt="rgb24")
    parts = clip.read_bytes().split(b"\x89PNG")
    clip.write_bytes(b"\x89PNG".join(parts[:24]) + b"\xffBAD" + b"\x89PNG".join(parts[24:]))
    with open_source(clip) as source:
        frames = iter(source)
        assert [number_in(next(frames).image) for _ in range(23)] == list(range(23))
        with pytest.raises(SourceError, match="decoding stopped after frame 22"):
            next(frames)


def test_a_file_that_lies_about_its_length(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.avi", 20, codec="mpeg4")
    data = bytearray(clip.read_bytes())
    header = data.index(b"avih")
    data[header + 24 : header + 28] = (5000).to_bytes(4, "little")
    stream = data.index(b"strh")
    data[stream + 40 : stream + 44] = (5000).to_bytes(4, "little")
    clip.write_bytes(data)
    with open_source(clip) as source:
        assert source.info.num_frames == 5000
        assert len(list(source)) == source.count_frames() == 20
        with pytest.raises(InputError, match="no frame 20; frames are numbered 0 to 19"):
            source.read(20)
        with pytest.raises(InputError, match="no frame 4999"):
            source.iterate(4999)


def test_declared_length_and_rate(tmp_path: Path) -> None:
    with open_source(write_numbered_clip(tmp_path / "clip.mp4", 30, fps=25)) as source:
        assert source.info.fps == Fraction(25)
        assert source.info.num_frames == 30
        assert source.info.duration_s == pytest.approx(1.2)
    with open_source(write_numbered_clip(tmp_path / "clip.mkv", 30, fps=25)) as source:
        assert source.info.num_frames == 30


@pytest.mark.parametrize("index", [-1, 30, 10**9])
def test_frames_that_do_not_exist(tmp_path: Path, index: int) -> None:
    with open_source(write_numbered_clip(tmp_path / "clip.mp4", 30)) as source:
        with pytest.raises(InputError, match=f"there is no frame {index}"):
            source.read(index)
        with pytest.raises(InputError, match=f"there is no frame {index}"):
            list(source.iterate(index))
        with pytest.raises(InputError, match=f"there is no frame {index}"):
            list(source.iterate(index, reverse=True))
        assert number_in(source.read(7).image) == 7


def test_reading_after_close_opens_again(tmp_path: Path) -> None:
    source = open_source(write_numbered_clip(tmp_path / "clip.mp4", 10))
    source.close()
    source.close()
    assert number_in(source.read(3).image) == 3
    source.close()


def test_paths_that_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("no picture")
    (tmp_path / "text.jpg").write_text("this is not a picture\n")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n garbage")
    cases: dict[str | Path, str] = {
        tmp_path / "text.mp4": "cannot be read as a video",
        tmp_path / "empty.mp4": r"is empty \(0 bytes\)",
        tmp_path / "missing.mp4": "does not exist",
        tmp_path / "folder": "holds no picture",
        tmp_path / "text.jpg": "is not a picture that can be read",
        tmp_path / "broken.png": "cannot be decoded",
        "rtsp://user:secret@host/stream": "not a URL",
    }
    for path, message in cases.items():
        with pytest.raises(SourceError, match=message) as caught:
            open_source(path)
        assert "secret" not in str(caught.value)


def test_audio_only(tmp_path: Path) -> None:
    path = tmp_path / "sound.mka"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="holds no video stream"):
        open_source(path)


def _write_folder(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(numbered_image(number)).save(folder / name)
    return folder


def test_a_folder_is_sorted_by_number(tmp_path: Path) -> None:
    names = [f"{n}.jpg" for n in range(9)] + ["9.png", "10.JPG", "011.jpeg", "100.jpg"]
    folder = _write_folder(tmp_path / "frames", names)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "._0.jpg").write_bytes(b"x")
    with open_source(folder, fps=10) as source:
        assert [number_in(frame.image) for frame in source] == list(range(13))
        assert [f.index for f in source.iterate(5, 2, reverse=True)] == [5, 4, 3]
        assert source.read(4).pts_s == pytest.approx(0.4)
        assert source.info.kind == "frames"
        assert source.count_frames() == source.info.num_frames == 13
        with pytest.raises(InputError, match="no frame 13; frames are numbered 0 to 12"):
            source.read(13)
    with open_source(folder, start_frame=11) as source:
        assert [(frame.index, frame.pts_s) for frame in source] == [(11, None), (12, None)]


def test_a_folder_of_mixed_sizes_names_the_odd_one(tmp_path: Path) -> None:
    folder = _write_folder(tmp_path / "frames", ["0.png", "1.png"])
    Image.fromarray(numbered_image(2, 100, 50)).save(folder / "2.png")
    with (
        open_source(folder) as source,
        pytest.raises(SourceError, match=r"2\.png is 100×50.*80×48"),
    ):
        list(source)


def test_a_cut_jpeg_in_a_folder(tmp_path: Path) -> None:
    folder = _write_folder(tmp_path / "frames", ["0.jpg", "1.jpg"])
    whole = (folder / "1.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole[: len(whole) // 2])
    with (
        open_source(folder) as source,
        pytest.raises(SourceError, match=r"1\.jpg: it cannot be decoded"),
    ):
        list(source)


def test_exif_rotation(tmp_path: Path) -> None:
    image = np.zeros((48, 80, 3), np.uint8)
    image[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(image).save(tmp_path / "photo.jpg", exif=exif)
    with open_source(tmp_path / "photo.jpg") as source:
        (frame,) = source
    assert frame.image.shape == (80, 48, 3)
    assert frame.image[2, -3, 0] > 128
    assert frame.image[2, 2, 0] < 128


def _save(picture: Image.Image, path: Path) -> np.ndarray[Any, Any]:
    picture.save(path)
    with open_source(path) as source:
        return source.read(0).image


def test_picture_modes(tmp_path: Path) -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(_save(Image.fromarray(grey), tmp_path / "l.png"), expected)
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(_save(wide, tmp_path / "i16.png"), expected)
    assert np.array_equal(_save(wide, tmp_path / "i16.tif"), expected)
    rgba = Image.fromarray(np.dstack([expected, np.array([[255, 255], [0, 128]], np.uint8)]))
    over_black = _save(rgba, tmp_path / "rgba.png")
    assert over_black[:, :, 0].tolist() == [[0, 100], [0, 128]]
    palette = Image.fromarray(expected).convert("P")
    assert _save(palette, tmp_path / "p.png").shape == (2, 2, 3)
    bits = Image.fromarray(grey > 150)
    assert _save(bits, tmp_path / "bits.png")[:, :, 1].tolist() == [[0, 0], [255, 255]]
    cmyk = Image.fromarray(expected).convert("CMYK")
    assert _save(cmyk, tmp_path / "cmyk.tif").shape == (2, 2, 3)


def test_one_pixel(tmp_path: Path) -> None:
    assert _save(Image.new("RGB", (1, 1), (1, 2, 3)), tmp_path / "one.png").tolist() == [
        [[1, 2, 3]]
    ]


def test_arrays_in_memory() -> None:
    stack = np.stack([numbered_image(number) for number in range(5)])
    pictures = [Image.fromarray(image) for image in stack]
    sources: list[FrameSource] = [
        open_source(stack),
        open_source(list(stack)),
        open_source(pictures, fps=5),
    ]
    for source in sources:
        assert [number_in(frame.image) for frame in source] == [0, 1, 2, 3, 4]
        assert [f.index for f in source.iterate(reverse=True)] == [4, 3, 2, 1, 0]
        assert source.info.kind == "array"
    assert sources[2].read(1).pts_s == pytest.approx(0.2)
    assert open_source(stack[0]).count_frames() == 1
    assert open_source(pictures[0]).count_frames() == 1


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((5, 4, 2), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.full((4, 4, 3), 2.0, np.float32),
        np.full((4, 4, 3), np.nan),
    ],
    ids=["two channels", "one axis", "zero height", "float above 1", "nan"],
)
def test_arrays_that_are_no_picture(picture: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ImageError, match="picture"):
        picture_to_rgb(picture)


def test_memory_sources_that_cannot_be() -> None:
    with pytest.raises(ImageError, match="there is no picture"):
        ArraySource([])
    with pytest.raises(SourceError, match="not int"):
        open_source(3)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="frame rate"):
        ArraySource(np.zeros((1, 4, 4, 3), np.uint8), fps=0)
    with pytest.raises(InputError, match="no frame 9"):
        ArraySource(np.zeros((1, 4, 4, 3), np.uint8), start_frame=9)


def test_anchors_stay_bounded_and_ordered() -> None:
    anchors = KeyframeAnchors(max_anchors=16)
    for index in range(0, 1000, 10):
        anchors.add(Anchor(index, index * 100))
    assert anchors.floor(0) == Anchor(0, 0)
    assert anchors.floor(-1) is None
    near = anchors.floor(995)
    assert near is not None
    assert 0 < near.index <= 990
    assert len({anchors.floor(i) for i in range(1000)}) <= 16
    anchors.distrust()
    assert anchors.floor(995) is None
