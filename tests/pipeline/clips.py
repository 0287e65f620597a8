"""Small clips that the tests encode themselves, with their frame number painted in."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

NUM_BITS = 10


def numbered_image(number: int, width: int = 80, height: int = 48) -> NDArray[np.uint8]:
    """A grey picture whose upper edge spells ``number`` in black and white bars."""
    image = np.full((height, width, 3), 128, np.uint8)
    bar = width // NUM_BITS
    for bit in range(NUM_BITS):
        image[: height // 2, bit * bar : (bit + 1) * bar] = 255 if number >> bit & 1 else 0
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """Read the number back."""
    height, width = image.shape[:2]
    bar = width // NUM_BITS
    row = image[height // 4, bar // 2 : bar * NUM_BITS : bar, 1]
    return sum(1 << bit for bit, value in enumerate(row) if value > 128)


def write_clip(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    fps: int = 30,
    ticks: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
) -> Path:
    """Encode a clip.

    Args:
        path: where; the suffix chooses the container.
        images: (H, W, 3) uint8 RGB each.
        codec: encoder.
        fps: nominal frame rate.
        ticks: time of each frame in units of 1 / (10 fps); default: every 10 ticks.
        options: encoder options.
        container_options: muxer options.
        pix_fmt: coded pixel format.
    """
    height, width = images[0].shape[:2]
    time_base = Fraction(1, fps * 10)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = time_base
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number * 10 if ticks is None else ticks[number]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_numbered_clip(path: Path, num_frames: int, **options: Any) -> Path:
    """A clip whose frame *i* spells *i*."""
    return write_clip(path, [numbered_image(number) for number in range(num_frames)], **options)


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Overwrite the matrix in an MP4's track header (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    one = 1 << 16
    data[start : start + 36] = struct.pack(
        ">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30
    )
    path.write_bytes(data)
