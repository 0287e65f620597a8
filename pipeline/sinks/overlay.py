"""Paints results onto a frame."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from maskstream.core.rle import mask_box
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.labels import (
    Colour,
    Rectangle,
    label_picture,
    label_text,
    place_label,
)
from maskstream.pipeline.sinks.largest_part import largest_part_box

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
        font_path: a TrueType font to write labels with, as far as it has their letters; None: the
            fonts of the package.

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
        label = label_picture(
            label_text(result, row),
            object_colour(int(result.obj_ids[row])),
            text_height,
            font_path,
        )
        place_label(painted, label, largest_part_box(result.masks[row], box), taken)
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
