"""What is doubtful about the mask of an object that a user has just drawn.

A network's score does not tell: the embedded checkpoint gives 0.9999 on film to a mask that has
little to do with what was pointed at. The prompt itself does tell.
"""

from __future__ import annotations

import numpy as np

from maskstream.pipeline.api.commands import AddObject
from maskstream.pipeline.api.results import FrameResult

_MAX_OUTSIDE = 0.5
"""A mask with more of its pixels outside of its box has left it by far."""
_MAX_OF_FRAME = 0.5
"""A single click seldom means something that covers more of the frame."""


def doubts_of(prompt: AddObject, shown: FrameResult, obj_id: int) -> list[str]:
    """Warnings for a user, in words; empty where nothing is doubtful.

    Args:
        prompt: what was drawn, in normalised coordinates.
        shown: the frame that it was drawn on, with the object's new mask.
        obj_id: the object.
    """
    rows = np.flatnonzero(shown.obj_ids == obj_id)
    if not rows.size or not shown.masks[rows[0]].any():
        return ["the mask is empty"]
    if prompt.mask is not None:
        return []
    mask = shown.masks[rows[0]]
    height, width = mask.shape
    num_pixels = np.count_nonzero(mask)
    if prompt.box is not None:
        x, y, box_width, box_height = prompt.box
        rows_inside = slice(round(y * height), round((y + box_height) * height))
        columns_inside = slice(round(x * width), round((x + box_width) * width))
        outside = 1 - np.count_nonzero(mask[rows_inside, columns_inside]) / num_pixels
        if outside > _MAX_OUTSIDE:
            return [f"{_percent(outside)} of the mask lies outside of its box"]
        return []
    share = num_pixels / mask.size
    if sum(prompt.point_labels) <= 1 and share > _MAX_OF_FRAME:
        return [f"the mask covers {_percent(share)} of the frame"]
    return []


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
