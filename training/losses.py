"""Losses of the detector.

One-to-one and one-to-many queries share every term but the assignment. Classification is
IoU-aware: a matched query is to score as well as its box fits. Where a concept is absent, the
presence score carries the decision and the queries' own scores count little.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from maskstream.core.boxes import cxcywh_to_xyxy
from maskstream.detector.model import Detector, DetectorOutput
from training.data import DetectorBatch
from training.matching import Assignment, match_many, match_one
from training.overlap import paired_giou


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Factor of each term."""

    classification: float = 2.0
    box: float = 5.0
    giou: float = 2.0
    mask: float = 10.0
    dice: float = 2.0
    presence: float = 2.0
    semantic: float = 4.0
    semantic_dice: float = 1.0
    auxiliary: float = 0.6
    one_to_many: float = 0.8
    absent_classification: float = 0.15
    many_per_target: int = 4


def focal_loss(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss for soft targets, elementwise: cross-entropy times |target - p|^gamma.

    (Lin et al., 2017; the soft form is the quality focal loss of Li et al., 2020.)
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return cross_entropy * (targets - logits.sigmoid()).abs().detach() ** gamma


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice coefficient of (N, H, W) masks, (N,)."""
    probability, truth = logits.sigmoid().flatten(1), targets.flatten(1)
    both = 2 * (probability * truth).sum(1)
    return 1 - (both + 1) / (probability.sum(1) + truth.sum(1) + 1)


def mask_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over N of the cell-wise and the Dice loss of (N, H, W) masks.

    Small objects have few cells, so cell-wise loss is averaged over the object and as many
    cells of background again rather than over the whole frame.
    """
    cells = focal_loss(logits, targets, gamma=1.0).flatten(1).sum(1)
    size = targets.flatten(1).sum(1) * 2 + 0.01 * targets[0].numel()
    return (cells / size).sum(), dice_loss(logits, targets).sum()


def classification_loss(
    logits: Tensor, quality: Tensor, matched: Tensor, row_weight: Tensor
) -> Tensor:
    """IoU-aware focal classification, summed.

    Args:
        logits: (..., K, Q).
        quality: (..., K, Q) in [0, 1], how well the query's box fits; 0 where unmatched.
        matched: (..., K, Q) bool.
        row_weight: (K,) factor of each concept.
    """
    target = torch.where(matched, quality.clamp(min=0.0).sqrt().clamp(min=0.1), 0.0)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focus = torch.where(matched, 1.0, logits.detach().sigmoid() ** 2)
    return (cross_entropy * focus * row_weight[:, None]).sum()


def _query_losses(
    output: DetectorOutput,
    batch: DetectorBatch,
    pairs: Assignment,
    weights: LossWeights,
    per_target: float,
) -> dict[str, Tensor]:
    """Classification and box terms of all layers; ``per_target`` matches a target has."""
    count = batch.target_count.sum().clamp(min=1) * per_target
    layer_weight = output.logits.new_full((output.logits.shape[0],), weights.auxiliary)
    layer_weight[-1] = 1.0
    predicted = output.boxes[pairs.layer, pairs.concept, pairs.query]
    truth = batch.target_boxes[pairs.concept, pairs.target]
    iou, giou = paired_giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(truth))
    factor = layer_weight[pairs.layer]
    quality = torch.zeros_like(output.logits)
    matched = torch.zeros_like(output.logits, dtype=torch.bool)
    quality[pairs.layer, pairs.concept, pairs.query] = iou.detach()
    matched[pairs.layer, pairs.concept, pairs.query] = True
    present = batch.target_count > 0
    row_weight = torch.where(present, 1.0, weights.absent_classification)
    classification = torch.stack(
        [
            classification_loss(output.logits[i], quality[i], matched[i], row_weight) * weight
            for i, weight in enumerate(layer_weight)
        ]
    ).sum()
    return {
        "classification": weights.classification * classification / count,
        "box": weights.box * ((predicted - truth).abs().sum(-1) * factor).sum() / count,
        "giou": weights.giou * ((1 - giou) * factor).sum() / count,
    }


def _mask_losses(
    model: Detector, output: DetectorOutput, batch: DetectorBatch, pairs: Assignment
) -> tuple[Tensor, Tensor]:
    """Cell-wise and Dice loss per target of the last layer's matched queries."""
    last = pairs.layer == output.logits.shape[0] - 1
    concept, query, target = pairs.concept[last], pairs.query[last], pairs.target[last]
    if not len(concept):
        zero = output.pixels.sum() * 0.0
        return zero, zero
    rows, row = concept.unique(return_inverse=True)
    width = int(target.max()) + 1
    queries = output.queries.new_zeros(len(rows), width, output.queries.shape[-1])
    queries[row, target] = output.queries[-1][concept, query]
    masks = model.masks_of(queries, output.pixels[rows])[row, target]
    cells, dice = mask_loss(masks, batch.target_masks[concept, target])
    return cells / len(concept), dice / len(concept)


def _map_losses(
    model: Detector, output: DetectorOutput, batch: DetectorBatch, weights: LossWeights
) -> dict[str, Tensor]:
    """Presence of every layer and the semantic map."""
    present = (batch.target_count > 0).float()
    # A concept that shows only slivers is neither there nor absent.
    sure = (present > 0) | (batch.semantic.flatten(1).sum(1) == 0)
    logits = output.presence_logits
    entropy = functional.binary_cross_entropy_with_logits(
        logits, present.expand_as(logits), reduction="none"
    )
    presence = (entropy * sure).sum() / sure.sum().clamp(min=1) / logits.shape[0]
    semantic = model.semantic_map(output).squeeze(1)
    cells = focal_loss(semantic, batch.semantic, gamma=1.0).flatten(1).sum(1)
    size = batch.semantic.flatten(1).sum(1) * 2 + 0.02 * batch.semantic[0].numel()
    some = batch.semantic.flatten(1).sum(1) > 0
    dice = (dice_loss(semantic, batch.semantic) * some).sum() / some.sum().clamp(min=1)
    return {
        "presence": weights.presence * presence,
        "semantic": weights.semantic * (cells / size).mean() + weights.semantic_dice * dice,
    }


def detector_losses(
    model: Detector, output: DetectorOutput, batch: DetectorBatch, weights: LossWeights
) -> dict[str, Tensor]:
    """All weighted terms by name; their sum is the loss.

    Args:
        model: makes masks of the matched queries and the semantic map.
        output: of ``model`` in training mode.
        batch: the truth.
        weights: factors of the terms.
    """
    one = match_one(output.logits, output.boxes, batch)
    losses = _query_losses(output, batch, one, weights, 1.0)
    cells, dice = _mask_losses(model, output, batch, one)
    losses["mask"] = weights.mask * cells
    losses["dice"] = weights.dice * dice
    losses |= _map_losses(model, output, batch, weights)
    if output.many is not None:
        per_target = weights.many_per_target
        many = match_many(output.many.logits, output.many.boxes, batch, per_target)
        extra = _query_losses(output.many, batch, many, weights, per_target)
        losses |= {f"many_{name}": weights.one_to_many * term for name, term in extra.items()}
    return losses
