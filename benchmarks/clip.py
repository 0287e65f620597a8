"""Clips of plain shapes, as files, for what is measured end to end."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

TEXTS = ("red circle", "blue square", "yellow circle", "green square")
"""What there is to be found; only the first two are in :func:`steady`."""

ABSENT = ("purple star", "orange heart", "white ring", "black cross")

_COLOURS = ((215, 40, 40), (45, 80, 215), (235, 205, 50), (50, 160, 70))

Picture = NDArray[np.uint8]


def steady(index: int, width: int, height: int) -> Picture:
    """(height, width, 3): three red circles and two blue squares that stay, and move slowly."""
    picture = _ground(width, height)
    for number in range(5):
        x = 0.2 + 0.3 * number if number < 3 else 0.35 + 0.3 * (number - 3)
        x += 0.05 * np.sin(2 * np.pi * index / 80 + number)
        _draw(picture, number % 2, x, 0.3 if number < 3 else 0.7, 0.12)
    return picture


def coming_and_going(index: int, width: int, height: int) -> Picture:
    """(height, width, 3): four shapes, each there for 40 frames of every 80 in its time."""
    picture = _ground(width, height)
    for number in range(4):
        if (index + 20 * number) % 80 < 40:
            x = 0.28 + 0.44 * (number % 2) + 0.12 * np.sin(2 * np.pi * index / 80 + number)
            _draw(picture, number, x, 0.3 + 0.4 * ((number // 2 + number) % 2), 0.15)
    return picture


def _ground(width: int, height: int) -> Picture:
    return np.full((height, width, 3), 120, np.uint8)


def _draw(picture: Picture, kind: int, centre_x: float, centre_y: float, radius: float) -> None:
    """One of ``TEXTS``; places in parts of width and height, the radius in parts of the height."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    x, y = abs(x - centre_x * width), abs(y - centre_y * height)
    radius *= height
    inside = x**2 + y**2 < radius**2 if kind % 2 == 0 else np.maximum(x, y) < 0.9 * radius
    picture[inside] = _COLOURS[kind]


def write_clip(
    path: Path,
    num_frames: int,
    width: int,
    height: int,
    draw: Callable[[int, int, int], Picture] = steady,
) -> Path:
    """H.264 at 25 frames a second, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw(index, width, height), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def texts(count: int) -> list[str]:
    """So many concepts: two that are there, then some that are not."""
    names = [*TEXTS[:2], *ABSENT]
    return [names[i] if i < len(names) else f"{ABSENT[i % 4]} {i}" for i in range(count)]
