"""Which query answers for which object: one-to-one (Hungarian) and one-to-many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from maskstream.core.boxes import cxcywh_to_xyxy
from training.data import DetectorBatch
from training.overlap import pairwise_giou

CLASS_COST = 2.0
BOX_COST = 5.0
GIOU_COST = 2.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """M matches, (M,) int64 each: decoder layer, concept, query, and number of its target."""

    layer: Tensor
    concept: Tensor
    query: Tensor
    target: Tensor


@torch.no_grad()
def match_costs(logits: Tensor, boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Cost of letting a query answer for a target.

    Args:
        logits: (L, K, Q).
        boxes: (L, K, Q, 4) cx cy w h.
        target_boxes: (K, G, 4) cx cy w h.

    Returns:
        (L, K, Q, G).
    """
    distance = (boxes[..., :, None, :] - target_boxes[None, :, None]).abs().sum(-1)
    _, giou = pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(target_boxes)[None])
    probability = logits.sigmoid()
    return BOX_COST * distance - GIOU_COST * giou - CLASS_COST * probability[..., None]


def match_one(logits: Tensor, boxes: Tensor, batch: DetectorBatch) -> Assignment:
    """The cheapest one-to-one assignment of each layer and concept."""
    costs = match_costs(logits, boxes, batch.target_boxes).cpu().double().numpy()
    found: list[tuple[int, int, int, int]] = []
    counts = batch.target_count.tolist()
    for layer in range(costs.shape[0]):
        for concept, count in enumerate(counts):
            if count:
                queries, targets = linear_sum_assignment(costs[layer, concept, :, :count])
                found += [
                    (layer, concept, int(q), int(t)) for q, t in zip(queries, targets, strict=True)
                ]
    return _assignment(found, logits.device)


def match_many(logits: Tensor, boxes: Tensor, batch: DetectorBatch, per_target: int) -> Assignment:
    """The ``per_target`` cheapest queries of each target; a query goes to its cheapest target."""
    costs = match_costs(logits, boxes, batch.target_boxes)
    slots = torch.arange(costs.shape[-1], device=costs.device)
    real = slots < batch.target_count[:, None]
    costs = costs.masked_fill(~real[None, :, None], float("inf"))
    nearest = costs.topk(min(per_target, costs.shape[2]), dim=2, largest=False).indices
    chosen = torch.zeros_like(costs, dtype=torch.bool).scatter_(2, nearest, True)
    chosen &= real[None, :, None]
    # A query that several targets want goes to the one it fits best.
    best = costs.masked_fill(~chosen, float("inf")).argmin(-1, keepdim=True)
    keep = chosen.gather(-1, best).squeeze(-1)
    layer, concept, query = keep.nonzero(as_tuple=True)
    return Assignment(layer, concept, query, best[layer, concept, query, 0])


def _assignment(found: list[tuple[int, int, int, int]], device: torch.device) -> Assignment:
    table = torch.from_numpy(np.asarray(found, dtype=np.int64).reshape(-1, 4)).to(device)
    layer, concept, query, target = table.unbind(1)
    return Assignment(layer, concept, query, target)
