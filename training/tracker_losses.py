"""Losses of the tracker: masks (best of several), predicted quality, and whether it is there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.losses import dice_loss, focal_loss
from training.rollout import FrameOutcome


@dataclass(frozen=True, slots=True)
class TrackerLossWeights:
    """Factor of each term."""

    mask: float = 5.0
    dice: float = 2.0
    single: float = 0.4
    """Share of the mask that is not the answer: the single one where one of several is chosen,
    the best of the several where the single one is."""
    quality: float = 1.0
    presence: float = 1.0
    hidden: float = 2.0
    """Factor within presence of objects out of sight, the rarer case."""


def mask_errors(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cell-wise and Dice loss of each proposal.

    Args:
        logits: (N, K, H, W).
        truth: (N, H, W) in [0, 1].

    Returns:
        Two tensors (N, K).
    """
    spread = truth[:, None].expand_as(logits)
    cells = focal_loss(logits, spread, gamma=1.0).flatten(2).sum(2)
    size = truth.flatten(1).sum(1) * 2 + 0.01 * truth[0].numel()
    dice = dice_loss(logits.flatten(0, 1), spread.flatten(0, 1)).unflatten(0, logits.shape[:2])
    return cells / size[:, None], dice


@torch.no_grad()
def actual_quality(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU (N, K) of the proposals with the truth, both cut to 0 and 1."""
    predicted = (logits > 0).flatten(2)
    real = (truth >= 0.5).flatten(1)[:, None]
    both = (predicted & real).sum(2).float()
    return both / (predicted | real).sum(2).float().clamp(min=1)


def frame_losses(
    outcome: FrameOutcome, truth: Tensor, weights: TrackerLossWeights
) -> dict[str, Tensor]:
    """Weighted terms of one frame, each a mean over the N objects.

    Args:
        outcome: of the frame.
        truth: (N, 4h, 4w) share of each cell that shows the object.
        weights: factors.
    """
    area = truth.flatten(1).sum(1)
    visible, hidden = area >= 1.0, area == 0.0
    entropy = functional.binary_cross_entropy_with_logits(
        outcome.object_score_logits, visible.float(), reduction="none"
    )
    share = torch.where(hidden, weights.hidden, 1.0) * (visible | hidden)
    losses = {"presence": weights.presence * (entropy * share).mean()}
    seen = visible.float()
    count = seen.sum().clamp(min=1)
    cells, dice = mask_errors(outcome.masks, truth)
    cost = weights.mask * cells + weights.dice * dice
    best = cost[:, 1:].detach().argmin(1, keepdim=True) + 1
    answer, other = cost.gather(1, best)[:, 0], cost[:, 0]
    if outcome.single:
        answer, other = other, answer
    picked = answer + weights.single * other
    losses["mask"] = (picked * seen).sum() / count
    error = (outcome.iou_scores - actual_quality(outcome.masks, truth)).abs().sum(1)
    losses["quality"] = weights.quality * (error * seen).sum() / count
    return losses
