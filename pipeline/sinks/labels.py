"""The labels of an overlay: what they say, how they look, and where they are painted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.fonts import font_runs

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

_MAX_LETTERS = 60


def label_text(result: FrameResult, row: int) -> str:
    """Id, label and score of an object, as far as it has them."""
    parts = [str(int(result.obj_ids[row])), result.labels[row][:_MAX_LETTERS]]
    if np.isfinite(result.scores[row]):
        parts.append(f"{result.scores[row]:.2f}")
    return " ".join(part for part in parts if part)


@lru_cache(maxsize=512)
def label_picture(
    text: str, colour: Colour, text_height: int, font_path: str | None
) -> NDArray[np.uint8]:
    """Draw text on a bar of the object's colour, in black or white for contrast.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    runs, x, boxes = font_runs(text, text_height, font_path), 0.0, []
    places = []
    for run in runs:
        left, top, right, bottom = run.font.getbbox(run.text, anchor="ls")
        boxes.append((x + left, top, x + right, bottom))
        places.append(x)
        x += run.font.getlength(run.text)
    left, top, right, bottom = np.array(boxes).T
    margin = max(2, text_height // 5)
    origin = margin - left.min(), margin - top.min()
    size = (
        int(right.max() - left.min()) + 2 * margin,
        int(bottom.max() - top.min()) + 2 * margin,
    )
    picture = Image.new("RGB", size, colour)
    # ITU-R BT.601 luma.
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if luma > 128 else (255, 255, 255)
    canvas = ImageDraw.Draw(picture)
    for place, run in zip(places, runs, strict=True):
        canvas.text((origin[0] + place, origin[1]), run.text, ink, run.font, anchor="ls")
    return np.asarray(picture)


def place_label(
    painted: NDArray[np.uint8], label: NDArray[np.uint8], box: Rectangle, taken: list[Rectangle]
) -> None:
    """Paint a label above its box or, without room there, in it; lower if other labels overlap."""
    height, width = painted.shape[:2]
    label = label[:height, :width]
    label_height, label_width = label.shape[:2]
    x = max(0, min(box[0], width - label_width))
    y = box[1] - label_height if box[1] >= label_height else box[1]
    y = max(0, min(y, height - label_height))
    place = (x, y, x + label_width, y + label_height)
    while any(_overlaps(place, other) for other in taken):
        y += label_height
        if y + label_height > height:
            break
        place = (x, y, x + label_width, y + label_height)
    taken.append(place)
    painted[place[1] : place[3], place[0] : place[2]] = label


def _overlaps(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
