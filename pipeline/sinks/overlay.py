"""Paints results onto a frame."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maskstream.core.rle import mask_box
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.fonts import font_for

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

_GOLDEN_RATIO = 0.618033988749895
# (saturation, value): colours with similar hues also differ in lightness.
_TIERS = ((0.9, 1.0), (0.55, 1.0), (0.9, 0.72))


def object_colour(obj_id: int) -> Colour:
    """Returns the colour of an object, RGB from 0 to 255. The same id always gets the same colour.

    Consecutive hues differ by the golden ratio, which keeps any number of them spread out.
    """
    saturation, value = _TIERS[obj_id % len(_TIERS)]
    hue = (obj_id * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_overlay(
    image: NDArray[np.uint8],
    result: FrameResult,
    *,
    opacity: float = 0.45,
    font_path: str | None = None,
) -> NDArray[np.uint8]:
    """Paint each object: a translucent fill, an outline, and the label "id label score".

    Line width and text grow with the frame, so that both are readable at any size.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        result: objects with masks of the same height and width.
        opacity: opacity of the fill, 0 to 1.
        font_path: a TrueType font for all labels; None: see
            :func:`maskstream.pipeline.sinks.fonts.font_for`.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    painted = image.copy()
    height, width = image.shape[:2]
    line_width = max(1, round(min(height, width) / 360))
    text_height = max(11, round(min(height, width) / 36))
    boxes: list[tuple[int, Rectangle]] = []
    for row, mask in enumerate(result.masks):
        box = mask_box(mask)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        colour = object_colour(int(result.obj_ids[row]))
        _fill(painted[y0:y1, x0:x1], mask[y0:y1, x0:x1], colour, opacity, line_width)
        boxes.append((row, box))
    taken: list[Rectangle] = []
    for row, box in boxes:  # after all fills, so that no label is painted over
        label = _label_picture(
            _label_text(result, row),
            object_colour(int(result.obj_ids[row])),
            text_height,
            font_path,
        )
        _place_label(painted, label, box, taken)
    return painted


def outline(mask: NDArray[np.bool_], line_width: int) -> NDArray[np.bool_]:
    """The pixels of a (H, W) mask within ``line_width`` steps of its border or the array's edge."""
    inner = mask
    for _ in range(line_width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _fill(
    region: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    colour: Colour,
    opacity: float,
    line_width: int,
) -> None:
    # 16 bits are enough: the two weights add up to 256, and 256 * 255 < 2**16.
    weight = np.uint16(round(opacity * 256))
    tint = np.array(colour, np.uint16) * weight
    blended = (region * (np.uint16(256) - weight) + tint) >> np.uint16(8)
    np.copyto(region, blended.astype(np.uint8), where=mask[:, :, None])
    region[outline(mask, line_width)] = colour


def _label_text(result: FrameResult, row: int) -> str:
    parts = [str(int(result.obj_ids[row])), result.labels[row][:60]]
    if np.isfinite(result.scores[row]):
        parts.append(f"{result.scores[row]:.2f}")
    return " ".join(part for part in parts if part)


@lru_cache(maxsize=512)
def _label_picture(
    text: str, colour: Colour, text_height: int, font_path: str | None
) -> NDArray[np.uint8]:
    """Draw text on a bar of the object's colour, in black or white for contrast.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    font = font_for(text, text_height, font_path)
    left, top, right, bottom = font.getbbox(text)
    margin = max(2, text_height // 5)
    size = (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin)
    picture = Image.new("RGB", size, colour)
    # ITU-R BT.601 luma.
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if luma > 128 else (255, 255, 255)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, ink, font)
    return np.asarray(picture)


def _place_label(
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
