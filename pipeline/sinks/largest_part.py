"""Finds the largest connected part of a mask, so that a label sits by it and not by a speck."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskstream.core.rle import mask_box

Rectangle = tuple[int, int, int, int]

_MAX_SIDE = 48
"""Samples along the longer side of the mask's box."""


def largest_part_box(mask: NDArray[np.bool_], box: Rectangle) -> Rectangle:
    """The box of the largest part.

    Parts are told apart in a mask of at most 48 × 48 samples, which takes a tenth of a millisecond
    whatever the frame's size. What lies closer together than a 48th of the box may count as one.

    Args:
        mask: (H, W).
        box: x0, y0, x1, y1 of the mask in pixels; x1 and y1 are the first beyond it.

    Returns:
        The box of the largest part, in the same form and exact to the pixel.
    """
    x0, y0, x1, y1 = box
    step = -(-max(x1 - x0, y1 - y0) // _MAX_SIDE)
    half = step // 2
    part = _largest(mask[y0 + half : y1 : step, x0 + half : x1 : step])
    if part is None:
        return box  # it is so thin that no sample has met it
    # What lies between a sample of the part and the next one beside it may belong to it.
    left = max(x0, x0 + (part[0] - 1) * step + half + 1)
    top = max(y0, y0 + (part[1] - 1) * step + half + 1)
    right, bottom = min(x1, x0 + part[2] * step + half), min(y1, y0 + part[3] * step + half)
    exact = mask_box(mask[top:bottom, left:right])
    if exact is None:
        return box
    return left + exact[0], top + exact[1], left + exact[2], top + exact[3]


def _largest(samples: NDArray[np.bool_]) -> Rectangle | None:
    """The box of the part with the most samples; None where all are False."""
    steps = np.diff(np.pad(samples, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, begins = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    if not rows.size:
        return None
    runs = list(zip(rows.tolist(), begins.tolist(), ends.tolist(), strict=True))
    parts: dict[int, list[tuple[int, int, int]]] = {}
    for part, run in zip(_parts(runs), runs, strict=True):
        parts.setdefault(part, []).append(run)
    largest = max(parts.values(), key=lambda part: sum(end - begin for _, begin, end in part))
    within, lefts, rights = zip(*largest, strict=True)
    return min(lefts), min(within), max(rights), max(within) + 1


def _parts(runs: list[tuple[int, int, int]]) -> list[int]:
    """For each run (row, begin, end) of True, in the order of rows, a number of its part.

    Runs belong together that touch in neighbouring rows, if only at a corner.
    """
    parents = list(range(len(runs)))

    def root(number: int) -> int:
        while parents[number] != number:
            number = parents[number]
        return number

    for number, (row, begin, end) in enumerate(runs):
        for other in range(number - 1, -1, -1):
            row_above, begin_above, end_above = runs[other]
            if row_above < row - 1:
                break
            if row_above == row - 1 and begin_above <= end and begin <= end_above:
                parents[root(other)] = root(number)
    return [root(number) for number in range(len(runs))]
