"""Objects shown by clicks and boxes, and followed from there.

A click goes where the customary simulation puts it: on the pixel of the largest remaining error
that lies deepest inside it (Sofiiuk et al., "Reviving iterative training with mask guidance",
2022). The first error is the object itself. After each click the new mask is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality_scenes import Scene, only_blobs, render, unseen_clip
from maskstream.core.masks import boxes_from_masks
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter
from training.clicks import deepest

Group = Literal["texture", "emoji", "shape"]
FIRST_CLIP = 2_000_000
NUM_OBJECTS = (2, 5)
NUM_CLICKS = 3
NUM_FOLLOWED = 30
"""Frames after the first that objects are followed over."""


@dataclass(slots=True)
class Clicked:
    """IoUs of a group of objects.

    Attributes:
        after: one list for each number of clicks, one IoU an object.
        boxed: after a box instead, one an object.
        followed: frames after one click, one for each object and frame that it counts in.
        kept: the same over the last third of the frames.
    """

    after: list[list[float]] = field(default_factory=lambda: [[] for _ in range(NUM_CLICKS)])
    boxed: list[float] = field(default_factory=list)
    followed: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)


def iou(mask_a: NDArray[np.bool_], mask_b: NDArray[np.bool_]) -> float:
    """Of two (H, W) masks; 0 where both are empty."""
    union = int((mask_a | mask_b).sum())
    return int((mask_a & mask_b).sum()) / union if union else 0.0


def group_of(kind: int, color: int) -> Group:
    """What a kind and colour number make of an object."""
    if kind < 0:
        return "texture"
    return "emoji" if color < 0 else "shape"


class Pointer:
    """Points at objects in the first frame of a clip through the segmenter's own interface."""

    def __init__(self, segmenter: VideoSegmenter, scene: Scene) -> None:
        self.segmenter = segmenter
        self._frame = Frame(0, None, scene.image)
        self._height, self._width = scene.image.shape[:2]

    def click(self, wrong: NDArray[np.bool_], truth: NDArray[np.bool_], obj_id: int | None) -> int:
        """Click the deepest pixel of what is wrong; start an object, or refine one."""
        place = deepest(wrong)
        if place is None:
            raise ValueError("there is nothing to click on")
        row, column = place
        point = ((column + 0.5) / self._width, (row + 0.5) / self._height)
        return self.segmenter.add_object(
            self._frame,
            obj_id=obj_id,
            points=[point],
            point_labels=[int(truth[row, column])],
            clear_old_points=False,
        )

    def box(self, truth: NDArray[np.bool_]) -> int:
        """Draw the tightest box around an object."""
        x0, y0, x1, y1 = boxes_from_masks(torch.from_numpy(truth)[None])[0].tolist()
        width, height = self._width, self._height
        box = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
        return self.segmenter.add_object(self._frame, box=box)

    def mask(self, obj_id: int) -> NDArray[np.bool_]:
        """(H, W): the mask that an object has in the first frame."""
        return mask_of(self.segmenter.at(self._frame), obj_id)


def mask_of(result: FrameResult, obj_id: int) -> NDArray[np.bool_]:
    """(H, W); empty for an object that is not seen, which results leave out."""
    mask: NDArray[np.bool_] = result.masks[result.obj_ids == obj_id].any(axis=0)
    return mask


def click_through(pointer: Pointer, truth: NDArray[np.bool_]) -> list[float]:
    """IoU after 1, 2, … clicks on one object, which is gone afterwards."""
    obj_id, mask, quality = None, np.zeros_like(truth), []
    for _ in range(NUM_CLICKS):
        wrong = mask != truth
        if wrong.any():
            obj_id = pointer.click(wrong, truth, obj_id)
            mask = pointer.mask(obj_id)
        quality.append(iou(mask, truth))
    if obj_id is not None:
        pointer.segmenter.remove_object(obj_id)
    return quality


def box_in(pointer: Pointer, truth: NDArray[np.bool_]) -> float:
    """IoU after a box around one object, which is gone afterwards."""
    obj_id = pointer.box(truth)
    quality = iou(pointer.mask(obj_id), truth)
    pointer.segmenter.remove_object(obj_id)
    return quality


def follow(pointer: Pointer, scenes: list[Scene]) -> Iterator[tuple[int, int, float]]:
    """Click every object once, together, and follow them all.

    Yields:
        Row of the object, frame index from 1 on, IoU, wherever the object counts.
    """
    first = scenes[0]
    rows = np.flatnonzero(first.counts)
    ids = {pointer.click(first.masks[row], first.masks[row], None): int(row) for row in rows}
    for frame_index, scene in enumerate(scenes):
        for result in pointer.segmenter.step(Frame(frame_index, None, scene.image)):
            for obj_id, row in ids.items():
                if frame_index and scene.counts[row]:
                    yield row, frame_index, iou(mask_of(result, obj_id), scene.masks[row])


def click_clips(model: VideoModel, num_clips: int, num_frames: int) -> dict[Group, Clicked]:
    """Every other clip holds nothing but nameless textures."""
    groups: dict[Group, Clicked] = {group: Clicked() for group in ("texture", "emoji", "shape")}
    segmenter = VideoSegmenter(model, latency="live")
    for number in range(FIRST_CLIP, FIRST_CLIP + num_clips):
        spec = unseen_clip(number, NUM_OBJECTS)
        scenes = list(render(spec if number % 2 else only_blobs(spec), num_frames + 1))
        first = scenes[0]
        segmenter.reset()
        pointer = Pointer(segmenter, first)
        of_row = [
            groups[group_of(int(kind), int(color))]
            for kind, color in zip(first.kinds, first.colors, strict=True)
        ]
        for row in np.flatnonzero(first.counts).tolist():
            for count, quality in enumerate(click_through(pointer, first.masks[row])):
                of_row[row].after[count].append(quality)
            of_row[row].boxed.append(box_in(pointer, first.masks[row]))
        for row, frame_index, quality in follow(pointer, scenes):
            of_row[row].followed.append(quality)
            if frame_index > 2 * num_frames // 3:
                of_row[row].kept.append(quality)
    return groups


def rows_of_groups(groups: dict[Group, Clicked]) -> list[dict[str, Any]]:
    """Mean IoUs of every group."""
    rows = []
    for group, clicked in groups.items():
        row: dict[str, Any] = {"objects": group, "number": len(clicked.boxed)}
        for count in (1, NUM_CLICKS):
            name = f"IoU_after_{count}_click" + "s" * (count > 1)
            row[name] = _mean(clicked.after[count - 1])
        row |= {
            "IoU_of_a_box": _mean(clicked.boxed),
            "IoU_followed": _mean(clicked.followed),
            "IoU_followed,_last_third": _mean(clicked.kept),
        }
        rows.append(row)
    return rows


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
