"""Memories of one frame, encoded but not yet written into the memory bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskstream.tracker.network.maps import GIVEN_MASK_BIAS, GIVEN_MASK_SCALE, FrameEmbedding
from maskstream.tracker.network.protocol import PRESENT_LOGIT, MaskletPrediction
from maskstream.tracker.overlap import NO_OBJECT_LOGIT, suppress_shrunk
from maskstream.tracker.rows import take

if TYPE_CHECKING:
    from maskstream.tracker.network.model import TrackerModel


@dataclass(frozen=True, slots=True)
class FrameMemory:
    """What n masklets keep of a frame.

    Attributes:
        maps: (n, h*w, M).
        pointers: (n, C).
    """

    maps: Tensor
    pointers: Tensor


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
