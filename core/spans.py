"""Boxes cut at the edges of a frame."""

from __future__ import annotations

from collections.abc import Sequence

FAR = 1.0
"""A box may reach over an edge by so many widths or heights of the frame. One that reaches farther
was not drawn on this frame; probably its numbers are pixels where normalised ones are expected."""


def clipped_box(
    corners: Sequence[float], width: float = 1.0, height: float = 1.0
) -> tuple[float, float, float, float] | None:
    """Cut a box at the edges of a ``width`` × ``height`` frame.

    Args:
        corners: x0, y0, x1, y1.

    Returns:
        The part inside, x0, y0, x1, y1; None if nothing of the box is inside, or if it reaches too
        far outside to be meant.
    """
    x0, y0, x1, y1 = corners
    for low, high, size in ((x0, x1, width), (y0, y1, height)):
        if low < -FAR * size or high > (1 + FAR) * size:
            return None
    left, top, right, bottom = max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
    return (left, top, right, bottom) if left < right and top < bottom else None
