"""Results that tests can make without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskstream.pipeline.api.results import FrameResult


def make_result(
    frame_index: int,
    obj_ids: Sequence[int] = (0,),
    *,
    size: tuple[int, int] = (48, 80),
    pts_s: float | None = None,
    labels: Sequence[str] | None = None,
    prompt_ids: Sequence[int] | None = None,
) -> FrameResult:
    """Objects as 12 × 10 rectangles that move one pixel a frame, each in its own place."""
    height, width = size
    num_objects = len(obj_ids)
    masks = np.zeros((num_objects, height, width), np.bool_)
    boxes = np.zeros((num_objects, 4), np.float32)
    for row, obj_id in enumerate(obj_ids):
        x = (4 + 16 * obj_id + frame_index) % (width - 12)
        y = (4 + 12 * obj_id) % (height - 10)
        masks[row, y : y + 10, x : x + 12] = True
        boxes[row] = x / width, y / height, 12 / width, 10 / height
    return FrameResult(
        frame_index=frame_index,
        pts_s=pts_s,
        obj_ids=np.array(obj_ids, np.int64),
        prompt_ids=np.array([0] * num_objects if prompt_ids is None else prompt_ids, np.int64),
        labels=["red circle"] * num_objects if labels is None else list(labels),
        scores=np.full(num_objects, 0.9, np.float32),
        tracker_scores=np.full(num_objects, 0.8, np.float32),
        boxes_xywh=boxes,
        masks=masks,
        states=["confirmed"] * num_objects,
        first_frames=np.zeros(num_objects, np.int64),
        frame_stats={"num_objects": num_objects},
    )
