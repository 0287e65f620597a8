"""Clips of plain shapes, as files, for what is measured end to end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

TEXTS = ("red circle", "blue square", "yellow circle", "green square")
"""What there is to be found; the first two are in every frame of :func:`shapes`."""

ABSENT = ("purple star", "orange heart", "white ring", "black cross")

_COLOURS = ((215, 40, 40), (45, 80, 215), (235, 205, 50), (50, 160, 70))


def shapes(
    index: int, width: int, height: int, *, coming_and_going: bool = False
) -> NDArray[np.uint8]:
    """(height, width, 3): a circle and a square that move slowly; or four shapes that are there
    for 40 frames of every 80, each at its own time.
    """
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width, 3), 120, np.uint8)
    radius = height * 0.15
    for number, colour in enumerate(_COLOURS if coming_and_going else _COLOURS[:2]):
        if coming_and_going and (index + 20 * number) % 80 >= 40:
            continue
        swing = 0.12 * width * np.sin(2 * np.pi * index / 80 + number)
        centre_x = width * (0.28 + 0.44 * (number % 2)) + swing
        centre_y = height * (0.3 + 0.4 * ((number // 2 + number) % 2))
        if number % 2 == 0:
            inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
        else:
            inside = (abs(x - centre_x) < radius * 0.9) & (abs(y - centre_y) < radius * 0.9)
        picture[inside] = colour
    return picture


def write_clip(
    path: Path,
    num_frames: int,
    width: int,
    height: int,
    *,
    fps: int = 25,
    coming_and_going: bool = False,
) -> Path:
    """H.264, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for index in range(num_frames):
            image = shapes(index, width, height, coming_and_going=coming_and_going)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def texts(count: int) -> list[str]:
    """So many concepts: two that are there, then some that are not."""
    names = [*TEXTS[:2], *ABSENT]
    return [names[i] if i < len(names) else f"{ABSENT[i % 4]} {i}" for i in range(count)]
