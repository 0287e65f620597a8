"""What passes between the detector and the tracker."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections of one frame, those of all its concepts together.

    Attributes:
        prompt_ids: (N,) int64, the concept each detection answers.
        scores: (N,) float32 in [0, 1], class probability × presence probability.
        boxes: (N, 4) float32, x0 y0 x1 y1, normalised to the frame's width and height.
        masks: (N, Hm, Wm) float32 logits; > 0 is inside. The grid covers the whole frame.
    """

    prompt_ids: Tensor
    scores: Tensor
    boxes: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return self.scores.shape[0]

    @classmethod
    def empty(cls, mask_size: tuple[int, int], device: torch.device | str = "cpu") -> Detections:
        """No detections, with masks of ``mask_size`` (height, width)."""
        return cls(
            prompt_ids=torch.zeros(0, dtype=torch.int64, device=device),
            scores=torch.zeros(0, device=device),
            boxes=torch.zeros(0, 4, device=device),
            masks=torch.zeros(0, *mask_size, device=device),
        )


@dataclass(frozen=True, slots=True)
class TrackerFeatures:
    """The tracker's branch of the vision neck for one frame.

    Attributes:
        levels: three maps, fine to coarse: (1, C, 4h, 4w), (1, C, 2h, 2w), (1, C, h, w).
        interactive: the same of the branch for clicks and given masks, where the model has one.
    """

    levels: tuple[Tensor, Tensor, Tensor]
    interactive: tuple[Tensor, Tensor, Tensor] | None = None
