"""The rules for the parts of a prompt: words, points, boxes and labels.

A point is x, y. A box is x, y, width, height, where x, y is its top left corner. Coordinates are
normalised, so that the frame spans 0 to 1 on both axes, or pixels of a frame whose size is given. A
box that reaches over the edge of the frame is cut there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from maskstream.core.spans import FAR, clipped_box

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Size = tuple[float, float]

MAX_TEXT_LENGTH = 1000
MAX_TEXTS = 100
MAX_POINTS = 100
MAX_BOXES = 100

UNIT: Size = (1.0, 1.0)
"""(width, height) of a frame in normalised coordinates."""

ANY_SIZE: Size = (2.0**31, 2.0**31)
"""Stands for a frame size that is not known yet. Pixels are checked again when it is known."""

# Rounding in a client's arithmetic may push an edge this far out of the frame.
_TOLERANCE = 1e-3


def text_faults(text: str | Sequence[str]) -> list[str]:
    """What is wrong with the words of a concept, or with those of several."""
    if not isinstance(text, str):
        if len(text) > MAX_TEXTS:
            return [f"text has {len(text)} entries; at most {MAX_TEXTS} are allowed"]
        return [fault for one in text for fault in text_faults(one)] if text else text_faults("")
    if not text.strip():
        return ["text is empty; give a short noun phrase such as 'red circle'"]
    if len(text) > MAX_TEXT_LENGTH:
        return [f"text has {len(text)} characters; at most {MAX_TEXT_LENGTH} are allowed"]
    return []


def point_faults(
    points: Sequence[Point], width: float = 1.0, height: float = 1.0, name: str = "points"
) -> list[str]:
    """What is wrong with points in a frame of ``width`` × ``height``; 1 × 1 means normalised."""
    faults = _count_faults(len(points), MAX_POINTS, name)
    for number, (x, y) in enumerate(points):
        if not (isfinite(x) and isfinite(y)):
            faults.append(f"{name}[{number}] is ({x}, {y}); coordinates must be finite")
        elif not (_inside(x, width) and _inside(y, height)):
            where = _range(width, height) + _pixels_hint((x, y), (width, height))
            faults.append(f"{name}[{number}] is ({x:g}, {y:g}), outside the frame; {where}")
    return faults


def box_faults(
    boxes: Sequence[Box], width: float = 1.0, height: float = 1.0, name: str = "bounding_boxes"
) -> list[str]:
    """What is wrong with x, y, w, h boxes in a frame of ``width`` × ``height``.

    A box may reach over the edge, but no farther than the frame is wide or high: such a one was
    meant in other units.
    """
    faults = _count_faults(len(boxes), MAX_BOXES, name)
    for number, (x, y, w, h) in enumerate(boxes):
        where = f"{name}[{number}]"
        shown = f"({x:g}, {y:g}, {w:g}, {h:g})"
        if not all(isfinite(value) for value in (x, y, w, h)):
            faults.append(f"{where} is {shown}; coordinates must be finite")
        elif w <= 0 or h <= 0:
            faults.append(f"{where} is {shown}, without area; expected x, y, width, height")
        elif clipped_box((x, y, x + w, y + h), width, height) is None:
            hint = _pixels_hint((x, y, x + w, y + h), (width, height))
            faults.append(
                f"{where} is {shown}, which lies outside the frame or reaches far out of it; "
                f"expected x, y, width, height: {_range(width, height)}{hint}"
            )
    return faults


def label_faults(labels: Sequence[int], num_prompts: int, name: str, prompts: str) -> list[str]:
    """What is wrong with the labels of ``num_prompts`` points or boxes.

    Args:
        labels: 1 or 0, one for each.
        num_prompts: how many points or boxes there are.
        name: what the faults call the labels.
        prompts: what they call the points or boxes.
    """
    faults = []
    if len(labels) != num_prompts:
        faults.append(f"{name} has {len(labels)} entries for {num_prompts} {prompts}")
    odd = sorted({label for label in labels if label not in (0, 1)})
    if odd:
        faults.append(f"{name} holds {odd}; each must be 1 (this) or 0 (not this)")
    return faults


def normalised_points(points: Sequence[Point], width: float, height: float) -> list[Point]:
    """Points of a ``width`` × ``height`` frame in normalised coordinates, moved into the frame."""
    return [(_unit(x / width), _unit(y / height)) for x, y in points]


def normalised_boxes(boxes: Sequence[Box], width: float, height: float) -> list[Box]:
    """Boxes of a ``width`` × ``height`` frame in normalised coordinates, cut at its edges.

    They must have passed ``box_faults``.
    """
    result = []
    for x, y, w, h in boxes:
        left, top = _unit(x / width), _unit(y / height)
        right, bottom = _unit((x + w) / width), _unit((y + h) / height)
        result.append((left, top, right - left, bottom - top))
    return result


def _count_faults(count: int, limit: int, name: str) -> list[str]:
    if count == 0:
        return [f"{name} is empty; leave it out or give at least one"]
    return [f"{name} has {count} entries; at most {limit} are allowed"] if count > limit else []


def _inside(value: float, size: float) -> bool:
    return -_TOLERANCE * size <= value <= (1 + _TOLERANCE) * size


def _pixels_hint(values: Sequence[float], size: Size) -> str:
    """A sentence for coordinates that are pixels where normalised ones are expected."""
    if size != UNIT or all(abs(value) <= 1 + FAR for value in values):
        return ""
    return (
        "; these look like pixels: divide them by the frame's width and height, or say that they "
        "are pixels (rel_coordinates false)"
    )


def _range(width: float, height: float) -> str:
    if width == height == 1.0:
        return "normalised coordinates lie in [0, 1]"
    return f"x lies in [0, {width:g}] and y in [0, {height:g}] pixels"


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)
