"""Masklets that detections start or that go on from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.masks import fill_holes_and_specks
from maskstream.core.types import Detections
from maskstream.tracker.frame_memory import FrameMemory, remember_drawn
from maskstream.tracker.lifecycle import Masklet, start_masklet
from maskstream.tracker.model import FrameEmbedding, TrackerModel
from maskstream.tracker.video_config import VideoConfig

DRAWN_THRESHOLD = 0.5
"""A pixel of a detection is in the mask that a masklet starts from if its logit reaches this."""


@dataclass(frozen=True, slots=True)
class TakenUp:
    """K detections as masklets go on from them.

    Attributes:
        low_res_masks: (K, 4h, 4w) float32 logits.
        scores: (K,) float32 on the CPU.
        memory: what the masklets keep of the frame.
    """

    low_res_masks: Tensor
    scores: Tensor
    memory: FrameMemory


@dataclass(frozen=True, slots=True)
class NewMasklets:
    """K masklets that are not yet part of a session: their records, and what they start from."""

    masklets: list[Masklet]
    start: TakenUp

    def __len__(self) -> int:
        return len(self.masklets)


def drawn_from(detections: Detections, chosen: NDArray[np.int64]) -> Tensor:
    """(K, H, W) float32, 0 or 1: the masks that chosen detections give to masklets."""
    index = torch.from_numpy(chosen).to(detections.masks.device)
    return (detections.masks[index] >= DRAWN_THRESHOLD).float()


def take_up(
    model: TrackerModel,
    frame: FrameEmbedding,
    detections: Detections,
    chosen: NDArray[np.int64],
    config: VideoConfig,
) -> TakenUp:
    """The chosen detections as a user's masks would be taken: drawn, and remembered as drawn."""
    index = torch.from_numpy(chosen).to(detections.scores.device)
    drawn = drawn_from(detections, chosen)
    return TakenUp(
        fill_holes_and_specks(detections.masks[index].float(), config.fill_hole_area),
        detections.scores[index].float().cpu(),
        remember_drawn(model, frame, drawn, model.from_masks(frame, drawn)),
    )


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
    start = take_up(model, frame, detections, chosen, config)
    index = torch.from_numpy(chosen).to(detections.scores.device)
    about = zip(
        detections.prompt_ids[index].tolist(),
        start.scores.tolist(),
        detections.boxes[index].tolist(),
        strict=True,
    )
    masklets = [
        start_masklet(
            obj_id=first_obj_id + number,
            prompt_id=prompt_id,
            frame_index=frame_index,
            score=score,
            box=box,
            config=config,
        )
        for number, (prompt_id, score, box) in enumerate(about)
    ]
    return NewMasklets(masklets, start)
