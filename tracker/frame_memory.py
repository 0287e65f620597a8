"""Memories of one frame, encoded but not yet written into the memory bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskstream.tracker.model import (
    GIVEN_MASK_BIAS,
    GIVEN_MASK_SCALE,
    FrameEmbedding,
    MaskletPrediction,
    TrackerModel,
)
from maskstream.tracker.overlap import NO_OBJECT_LOGIT, suppress_shrunk

PRESENT_LOGIT = 10.0
"""Object score of a masklet whose mask is not empty; an empty one has ``NO_OBJECT_LOGIT``."""


@dataclass(frozen=True, slots=True)
class FrameMemory:
    """What n masklets keep of a frame.

    Attributes:
        maps: (n, h*w, M).
        pointers: (n, C).
    """

    maps: Tensor
    pointers: Tensor


def take(values: Tensor, rows: Sequence[int]) -> Tensor:
    """``values[rows]``, without a copy where that is all of them in order."""
    if len(rows) == values.shape[0] and list(rows) == list(range(len(rows))):
        return values
    return values[torch.tensor(rows, dtype=torch.int64).to(values.device, non_blocking=True)]


def as_drawn(masks: Tensor) -> Tensor:
    """Logits of masks that are taken as they are: 0 and 1 become -10 and 10."""
    return masks * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS


def remember(
    model: TrackerModel,
    frame: FrameEmbedding,
    masks: Tensor,
    prompt_ids: Sequence[int],
    object_pointers: Tensor,
    rows: Sequence[int],
) -> FrameMemory:
    """Encode what was tracked.

    Args:
        model: the network.
        frame: the frame.
        masks: (N, 4h, 4w) logits. All N compete for pixels.
        prompt_ids: N prompt ids.
        object_pointers: (N, C).
        rows: the n masklets that remember.
    """
    kept = take(suppress_shrunk(masks, prompt_ids), rows)
    scores = torch.where(kept.flatten(1).gt(0).any(1), PRESENT_LOGIT, NO_OBJECT_LOGIT)
    maps = model.encode_memory(frame, kept, scores, binarize=False)
    return FrameMemory(maps, take(object_pointers, rows))


def remember_drawn(
    model: TrackerModel, frame: FrameEmbedding, drawn: Tensor, prediction: MaskletPrediction
) -> FrameMemory:
    """Encode (n, H, W) masks of 0 and 1 that :meth:`TrackerModel.from_masks` answered to."""
    if len(prediction) == 0:
        nothing = model.encode_memory(frame, drawn, prediction.object_score_logits, binarize=True)
        return FrameMemory(nothing, prediction.object_pointers)
    logits = as_drawn(model.mask_at_image_size(drawn))
    maps = model.encode_memory(frame, logits, prediction.object_score_logits, binarize=True)
    return FrameMemory(maps, prediction.object_pointers)


def remember_predicted(
    model: TrackerModel, frame: FrameEmbedding, prediction: MaskletPrediction
) -> FrameMemory:
    """Encode predicted masks as they are, cut at 0: the answer to clicks or a box."""
    logits = model.logits_at_image_size(prediction.low_res_masks)
    maps = model.encode_memory(frame, logits, prediction.object_score_logits, binarize=True)
    return FrameMemory(maps, prediction.object_pointers)
