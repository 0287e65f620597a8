"""Masklets that detections start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.masks import fill_holes_and_specks
from core.types import Detections
from tracker.frame_memory import FrameMemory, remember_drawn
from tracker.lifecycle import Masklet, start_masklet
from tracker.model import FrameEmbedding, TrackerModel
from tracker.video_config import VideoConfig

DRAWN_THRESHOLD = 0.5
"""A pixel of a detection is in the mask that a masklet starts from if its logit reaches this."""


@dataclass(frozen=True, slots=True)
class NewMasklets:
    """K masklets that are not yet part of a session.

    Attributes:
        masklets: their records.
        low_res_masks: (K, 4h, 4w) float32 logits.
        scores: (K,) float32 on the CPU, of the detections.
        memory: what they start with.
    """

    masklets: list[Masklet]
    low_res_masks: Tensor
    scores: Tensor
    memory: FrameMemory

    def __len__(self) -> int:
        return len(self.masklets)


def drawn_from(detections: Detections, chosen: NDArray[np.int64]) -> Tensor:
    """(K, H, W) float32, 0 or 1: the masks that chosen detections give to masklets."""
    index = torch.from_numpy(chosen).to(detections.masks.device)
    return (detections.masks[index] >= DRAWN_THRESHOLD).float()


def start_masklets(
    model: TrackerModel,
    frame: FrameEmbedding,
    frame_index: int,
    detections: Detections,
    chosen: NDArray[np.int64],
    first_obj_id: int,
    config: VideoConfig,
) -> NewMasklets:
    """Records and memories of what the chosen detections start, identities counting up."""
    index = torch.from_numpy(chosen).to(detections.scores.device)
    scores = detections.scores[index].float().cpu()
    prompts = detections.prompt_ids[index].tolist()
    masklets = [
        start_masklet(
            obj_id=first_obj_id + number,
            prompt_id=prompts[number],
            frame_index=frame_index,
            score=score,
            config=config,
        )
        for number, score in enumerate(scores.tolist())
    ]
    drawn = drawn_from(detections, chosen)
    return NewMasklets(
        masklets,
        fill_holes_and_specks(detections.masks[index].float(), config.fill_hole_area),
        scores,
        remember_drawn(model, frame, drawn, model.from_masks(frame, drawn)),
    )
