"""Validation of the detector on clips that training does not see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from maskstream.detector.model import Detector
from maskstream.detector.prompts import ConceptBatch, Exemplars, GeometryPrompts
from training.data import DetectorBatch

SCORE_THRESHOLD = 0.5


def concepts_of(model: Detector, batch: DetectorBatch) -> ConceptBatch:
    """A batch's prompts as the detector takes them; padding that nobody needs is cut off."""
    longest = int(batch.attention_mask.sum(1).max())
    text = model.encode_text(batch.input_ids[:, :longest], batch.attention_mask[:, :longest])
    shown = {
        "boxes": _exemplars(batch.boxes, batch.box_labels),
        "points": _exemplars(batch.points, batch.point_labels),
    }
    given = {kind: exemplars for kind, exemplars in shown.items() if exemplars is not None}
    return ConceptBatch(text, batch.image_index, GeometryPrompts(**given) if given else None)


def _exemplars(values: Tensor, labels: Tensor) -> Exemplars | None:
    valid = labels >= 0
    return Exemplars(values, labels.clamp(min=0), valid) if bool(valid.any()) else None


@dataclass(slots=True)
class _Counts:
    """Sums over concepts and targets."""

    concepts: int = 0
    right_presence: int = 0
    absent: int = 0
    false_alarms: int = 0
    targets: int = 0
    found: int = 0
    detections: int = 0
    true_detections: int = 0
    ious: list[float] = field(default_factory=list)


def pairwise_mask_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of (N, H, W) and (M, H, W) bool masks, (N, M)."""
    a, b = first.flatten(1).float(), second.flatten(1).float()
    both = a @ b.T
    return both / (a.sum(1)[:, None] + b.sum(1)[None] - both).clamp(min=1)


def _count(counts: _Counts, scores: Tensor, masks: Tensor, truth: Tensor) -> None:
    """Take in one concept: (N,) scores and (N, H, W) masks that passed, (G, H, W) truth."""
    counts.detections += len(scores)
    counts.targets += len(truth)
    if not len(truth) or not len(scores):
        counts.ious += [0.0] * len(truth)
        return
    iou = pairwise_mask_iou(masks, truth)
    free = torch.ones(len(truth), dtype=torch.bool)
    best = torch.zeros(len(truth))
    for row in iou[scores.argsort(descending=True)]:
        value, column = (row * free).max(0)
        if value > 0:
            free[column] = False
            best[column] = value
            counts.true_detections += int(value >= 0.5)
    counts.ious += best.tolist()
    counts.found += int((best >= 0.5).sum())


@torch.no_grad()
def evaluate(model: Detector, batches: Iterable[DetectorBatch]) -> dict[str, float]:
    """Metrics over all concepts of the batches.

    Returns:
        ``presence_accuracy``: share of concepts judged rightly there or not;
        ``false_alarms``: share of absent concepts with any detection;
        ``mask_miou``: mean mask IoU over all targets, 0 where missed;
        ``matched_miou``: the same over the targets found;
        ``recall`` and ``precision`` at mask IoU 0.5.
    """
    was_training = model.training
    model.eval()
    counts = _Counts()
    for batch in batches:
        features = model.encode_image(batch.to_float())
        output = model(features, concepts_of(model, batch))
        presence = output.presence_logits[-1].sigmoid()
        scores = output.logits[-1].sigmoid() * presence[:, None]
        masks = model.masks_of(output.queries[-1], output.pixels) > 0
        seen = batch.semantic.flatten(1).sum(1) > 0
        for row, number in enumerate(batch.target_count.tolist()):
            if seen[row] and not number:
                continue
            passed = scores[row] > SCORE_THRESHOLD
            counts.concepts += 1
            counts.right_presence += int((presence[row] > 0.5) == (number > 0))
            counts.absent += int(number == 0)
            counts.false_alarms += int(number == 0 and bool(passed.any()))
            truth = batch.target_masks[row, :number] >= 0.5
            _count(counts, scores[row, passed], masks[row, passed], truth)
    model.train(was_training)
    hits = [iou for iou in counts.ious if iou >= 0.5]
    return {
        "presence_accuracy": counts.right_presence / max(counts.concepts, 1),
        "false_alarms": counts.false_alarms / max(counts.absent, 1),
        "mask_miou": sum(counts.ious) / max(len(counts.ious), 1),
        "matched_miou": sum(hits) / max(len(hits), 1),
        "recall": counts.found / max(counts.targets, 1),
        "precision": counts.true_detections / max(counts.detections, 1),
    }
