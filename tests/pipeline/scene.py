"""A small scene that the embedded checkpoint knows: a red circle and a blue square on grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskstream.pipeline.sources import Frame
from tests.pipeline.clips import write_clip

WIDTH, HEIGHT = 320, 240
RED, BLUE, GREY = (215, 40, 40), (45, 80, 215), (120, 120, 120)


def red_circle(index: int) -> NDArray[np.bool_]:
    """(H, W) bool, where the circle is in frame ``index``; it moves to the right."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc: NDArray[np.bool_] = (x - 90 - 2 * index) ** 2 + (y - 80) ** 2 < 38**2
    return disc


def blue_square(index: int) -> NDArray[np.bool_]:
    """(H, W) bool, where the square is; it moves to the left."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    square: NDArray[np.bool_] = (abs(x - 230 + 2 * index) < 34) & (abs(y - 170) < 34)
    return square


def image(index: int, *, circle: bool = True, square: bool = True) -> NDArray[np.uint8]:
    """(H, W, 3) uint8."""
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    if square:
        picture[blue_square(index)] = BLUE
    if circle:
        picture[red_circle(index)] = RED
    return picture


def frames(count: int) -> list[Frame]:
    """Frames 0 to ``count`` - 1, 10 a second."""
    return [Frame(index, index / 10, image(index)) for index in range(count)]


def write_scene(path: Path, count: int) -> Path:
    """The scene as a video file, nearly without loss; an MP4 has its index in front."""
    container_options = {"movflags": "faststart"} if path.suffix == ".mp4" else None
    return write_clip(
        path,
        [image(index) for index in range(count)],
        options={"crf": "10"},
        container_options=container_options,
    )


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))
