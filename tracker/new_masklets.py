"""Masklets that detections start or that go on from them: their records, and what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.masks import fill_holes_and_specks
from maskstream.core.types import Detections
from maskstream.tracker.lifecycle import Masklet, start_masklet
from maskstream.tracker.network.protocol import FoundMasks
from maskstream.tracker.video_config import VideoConfig


@dataclass(frozen=True, slots=True)
class TakenUp:
    """K detections as masklets go on from them.

    Attributes:
        found: (K, 4h, 4w) float32 logits as detected, for the network.
        low_res_masks: (K, 4h, 4w) float32 logits as they are shown.
        scores: (K,) float32 on the CPU.
    """

    found: Tensor
    low_res_masks: Tensor
    scores: Tensor


@dataclass(frozen=True, slots=True)
class NewMasklets:
    """K masklets that are not yet part of a session: their records, and what they start from."""

    masklets: list[Masklet]
    start: TakenUp

    def __len__(self) -> int:
        return len(self.masklets)

    @property
    def prompt_ids(self) -> list[int]:
        """Their concepts."""
        return [masklet.prompt_id for masklet in self.masklets]


def found_for(
    detections: Detections, rows: NDArray[np.int64], chosen: NDArray[np.int64]
) -> FoundMasks:
    """For masklets in ``rows`` the masks of the detections ``chosen`` for them, one each."""
    index = torch.from_numpy(chosen).to(detections.masks.device)
    return FoundMasks(rows.tolist(), detections.masks[index].float())


def take_up(detections: Detections, chosen: NDArray[np.int64], config: VideoConfig) -> TakenUp:
    """The chosen detections as masklets go on from them."""
    index = torch.from_numpy(chosen).to(detections.scores.device)
    found = detections.masks[index].float()
    return TakenUp(
        found,
        fill_holes_and_specks(found, config.fill_hole_area),
        detections.scores[index].float().cpu(),
    )


def start_masklets(
    frame_index: int,
    detections: Detections,
    chosen: NDArray[np.int64],
    first_obj_id: int,
    config: VideoConfig,
) -> NewMasklets:
    """Records of what the chosen detections start, identities counting up."""
    start = take_up(detections, chosen, config)
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
