"""Results as other tools take them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from maskstream.core.brush_rle import encode_brush

if TYPE_CHECKING:
    from supervision import Detections

    from maskstream.pipeline.api.results import FrameResult


def to_supervision(result: FrameResult) -> Detections:
    """The objects of a frame for ``supervision``, which has to be installed.

    Returns:
        ``Detections`` with boxes in pixels, masks, ``confidence`` (``probabilities``),
        ``tracker_id`` (``obj_ids``) and ``class_id``: 0 for objects that belong to no concept, and
        for others their ``prompt_ids`` + 1. ``data`` holds ``class_name``, ``state`` and
        ``tracker_score``, ``metadata`` the frame's index and time.

    Raises:
        ModuleNotFoundError: supervision is not installed.
    """
    from supervision import Detections

    height, width = result.frame_size
    xyxy = result.boxes_xywh * np.array([width, height, width, height], np.float32)
    xyxy[:, 2:] += xyxy[:, :2]
    return Detections(
        xyxy=xyxy,
        mask=result.masks,
        confidence=result.probabilities,
        class_id=np.maximum(result.prompt_ids + 1, 0),
        tracker_id=result.obj_ids,
        data={
            "class_name": np.array(result.labels, dtype=np.str_),
            "state": np.array(result.states, dtype=np.str_),
            "tracker_score": result.tracker_scores,
        },
        metadata={"frame_index": result.frame_index, "pts_s": result.pts_s},
    )


def to_label_studio(
    result: FrameResult, *, from_name: str = "tag", to_name: str = "image"
) -> list[dict[str, Any]]:
    """The objects of a frame for Label Studio: the ``result`` of a prediction or an annotation.

    Args:
        result: the frame.
        from_name: name of the ``BrushLabels`` tag in the project's labelling configuration.
        to_name: name of its ``Image`` tag.

    Returns:
        One entry of JSON values for each object, with its mask as a brush.
    """
    height, width = result.frame_size
    return [
        {
            "id": uuid.uuid4().hex[:10],
            "type": "brushlabels",
            "from_name": from_name,
            "to_name": to_name,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": encode_brush(result.masks[row]),
                "brushlabels": [result.labels[row]],
            },
            "score": float(result.probabilities[row]),
            "meta": {"text": [f"object {result.obj_ids[row]}"]},
        }
        for row in range(len(result))
    ]
