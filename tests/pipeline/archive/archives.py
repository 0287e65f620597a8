"""Archives that the tests make: videos of many kinds, and files that are none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.pipeline.clips import numbered_image, set_display_matrix, write_clip, write_numbered_clip

_B_FRAMES = {"bf": "3", "g": "12"}
_GOP = {"g": "8"}
_VFR = [333 + 10 * i + (7 if i % 3 else 0) for i in range(24)]
_OPEN_GOP = {**_B_FRAMES, "x264-params": "open-gop=1"}

# name: number of frames, options of write_clip
VIDEOS: dict[str, tuple[int, dict[str, Any]]] = {
    "h264.mp4": (24, {"options": _GOP}),
    "h264.mkv": (24, {"options": _GOP}),
    "h264.mov": (24, {"options": _GOP}),
    "h264.ts": (24, {"options": _GOP}),
    "h264.flv": (24, {"options": _GOP}),
    "h264.avi": (24, {"options": _B_FRAMES}),
    "raw.h264": (24, {"options": _B_FRAMES}),
    "b-frames.mp4": (24, {"options": _B_FRAMES}),
    "all intra.mp4": (24, {"options": {"g": "1"}}),
    "one key frame.mp4": (40, {"options": {"g": "300"}}),
    "open gop.mp4": (24, {"options": _OPEN_GOP}),
    "open gop vfr.ts": (24, {"options": _OPEN_GOP, "ticks": _VFR}),
    "vfr.mp4": (24, {"options": _B_FRAMES, "ticks": _VFR}),
    "vfr.mkv": (24, {"options": _GOP, "ticks": _VFR}),
    "hevc.mp4": (24, {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=8"}}),
    "hevc.mkv": (24, {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
    "vp9.webm": (24, {"codec": "libvpx-vp9", "options": {"g": "8", "deadline": "realtime"}}),
    "vp8.webm": (24, {"codec": "libvpx", "options": {"g": "8", "deadline": "realtime"}}),
    "mpeg4.avi": (24, {"codec": "mpeg4", "options": {"g": "9"}}),
    "mpeg4.mp4": (24, {"codec": "mpeg4", "options": {"g": "9"}}),
    "msmpeg4.avi": (24, {"codec": "msmpeg4v2", "options": {"g": "9"}}),
    "mjpeg.avi": (24, {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "wmv2.wmv": (24, {"codec": "wmv2", "options": {"g": "9"}}),
    "ffv1.mkv": (12, {"codec": "ffv1", "pix_fmt": "bgr0"}),
    "prores.mov": (6, {"codec": "prores", "pix_fmt": "yuv422p10le"}),
    "short.mp4": (1, {}),
    "two.mkv": (2, {}),
    "name: with a colon.mp4": (12, {"options": _GOP}),
    "视频 – größer.mp4": (12, {"options": _GOP}),
    "  spaces .mp4": (12, {"options": _GOP}),
    "double::colon.mkv": (12, {"options": _GOP}),
    "percent %20 #1?.mp4": (12, {"options": _GOP}),
    "folder.mp4/inside.mp4": (12, {"options": _GOP}),
    "deep/er/and deeper/UPPER.MP4": (12, {"options": _GOP}),
    "mkv that is called.mp4": (12, {"options": _GOP}),
}
NUM_FRAMES_OF_OTHERS = {"odd size.mkv": 6, "rotated.mp4": 12, "streams.mkv": 12}


@dataclass(frozen=True)
class Archive:
    """A folder of videos.

    Attributes:
        num_frames: of each file that is a video, by its name.
        bad: what the reason of each failure says, by the name of the file.
    """

    folder: Path
    num_frames: dict[str, int]
    bad: dict[str, str]


def write_archive(folder: Path) -> Archive:
    """An archive of more than 40 files; the frames of its videos spell their numbers."""
    counts = dict(NUM_FRAMES_OF_OTHERS)
    for name, (num_frames, options) in VIDEOS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(".mkv") if name.startswith("mkv that") else path
        write_numbered_clip(written, num_frames, **options)
        written.rename(path)
        counts[name] = num_frames
    odd = [numbered_image(number, 83, 49) for number in range(6)]
    write_clip(folder / "odd size.mkv", odd, codec="ffv1", pix_fmt="bgr0")
    set_display_matrix(write_numbered_clip(folder / "rotated.mp4", 12, options=_GOP), 0, 1, -1, 0)
    _write_streams(folder / "streams.mkv", 12)
    return Archive(folder, counts, _write_bad(folder))


def _write_bad(folder: Path) -> dict[str, str]:
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video\n" * 100, encoding="utf-8")
    (folder / "zeros.mkv").write_bytes(bytes(4096))
    _write_sound(folder / "sound.webm")
    whole = write_numbered_clip(folder / "no index.mp4", 24).read_bytes()
    (folder / "no index.mp4").write_bytes(whole[:1000])
    clip = write_numbered_clip(
        folder / "truncated.mkv", 60, options={"g": "10", "bf": "0", "qp": "1"}
    )
    whole = clip.read_bytes()
    clip.write_bytes(whole[: int(len(whole) * 0.6)])
    clip = write_numbered_clip(folder / "broken.mov", 24, codec="png", pix_fmt="rgb24")
    parts = clip.read_bytes().split(b"\x89PNG")
    clip.write_bytes(b"\x89PNG".join(parts[:14]) + b"\xffBAD" + b"\x89PNG".join(parts[14:]))
    (folder / "notes.txt.bak").write_text("not listed", encoding="utf-8")
    (folder / ".hidden.mp4").write_bytes(b"not listed")
    return {
        "empty.mp4": r"is empty \(0 bytes\)",
        "text.mp4": "cannot be read as a video",
        "zeros.mkv": "cannot be read as a video",
        "sound.webm": "holds no video stream",
        "no index.mp4": "cannot be read as a video",
        "truncated.mkv": "truncated.*decoding stopped after frame",
        "broken.mov": "decoding stopped after frame 12",
    }


def _write_streams(path: Path, num_frames: int) -> None:
    """Two video streams and one of sound; the first one counts."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("libx264", rate=30) for _ in range(2)]
        sound: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        for number in range(num_frames):
            for offset, stream in zip((0, 500), streams, strict=True):
                frame = av.VideoFrame.from_ndarray(numbered_image(number + offset), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(sound.encode(_silence()))
        for stream in (*streams, sound):
            container.mux(stream.encode(None))


def _write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libopus", rate=48000, layout="mono")
        container.mux(stream.encode(_silence(48000)))
        container.mux(stream.encode(None))


def _silence(rate: int = 8000) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), layout="mono")
    frame.sample_rate = rate
    frame.pts = 0
    return frame
