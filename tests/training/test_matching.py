from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tests.training.small import random_truth
from training.matching import match_costs, match_many, match_one
from training.overlap import pairwise_giou


def cheapest(costs: Tensor) -> float:
    """Brute force over all ways to give each target a query of its own."""
    num_queries, num_targets = costs.shape
    ways = itertools.permutations(range(num_queries), num_targets)
    return min(float(sum(costs[q, t] for t, q in enumerate(way))) for way in ways)


@pytest.mark.parametrize("seed", range(6))
def test_one_to_one_is_the_cheapest_assignment(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batch = random_truth(generator, counts=[3, 0, 1, 4])
    logits = torch.randn(2, 4, 6, generator=generator)
    boxes = torch.rand(2, 4, 6, 4, generator=generator) * 0.4 + 0.1
    found = match_one(logits, boxes, batch)
    costs = match_costs(logits, boxes, batch.target_boxes)
    for layer in range(2):
        for concept, count in enumerate(batch.target_count.tolist()):
            mine = (found.layer == layer) & (found.concept == concept)
            assert sorted(found.target[mine].tolist()) == list(range(count))
            assert len(set(found.query[mine].tolist())) == count
            total = costs[layer, concept, found.query[mine], found.target[mine]].sum()
            best = cheapest(costs[layer, concept, :, :count]) if count else 0.0
            assert float(total) == pytest.approx(best, abs=1e-4)


def test_one_to_many_gives_each_target_its_nearest_queries_and_each_query_one_target() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = random_truth(generator, counts=[2, 0, 1])
    logits = torch.randn(1, 3, 10, generator=generator)
    boxes = torch.rand(1, 3, 10, 4, generator=generator) * 0.4 + 0.1
    found = match_many(logits, boxes, batch, per_target=4)
    costs = match_costs(logits, boxes, batch.target_boxes)[0]
    pairs = list(zip(found.concept.tolist(), found.query.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert 1 not in found.concept
    alone = found.query[found.concept == 2]
    assert set(alone.tolist()) == set(costs[2, :, 0].topk(4, largest=False).indices.tolist())
    near = [set(costs[0, :, t].topk(4, largest=False).indices.tolist()) for t in range(2)]
    for query, target in zip(
        found.query[found.concept == 0].tolist(), found.target[found.concept == 0].tolist(),
        strict=True,
    ):  # fmt: skip
        assert query in near[target]
        other = 1 - target
        assert query not in near[other] or costs[0, query, target] <= costs[0, query, other]


def test_overlap_of_boxes_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0], [3.0, 0.0, 4.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    iou, giou = pairwise_giou(a, b)
    assert iou[0].tolist() == pytest.approx([1 / 7, 0.0, 1.0])
    assert giou[0].tolist() == pytest.approx([1 / 7 - 2 / 9, -3 / 8, 1.0])
