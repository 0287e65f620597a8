from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from maskstream.detector.model import Detector
from tests.training.small import SIDE, random_truth, small_detector_config
from training.alignment import AlignmentHead, spoken
from training.data import DetectorBatch

CELLS = SIDE // 16


def one_object() -> DetectorBatch:
    """A frame whose left half is object 0; text 1 of three describes it."""
    truth = random_truth(torch.Generator().manual_seed(0), counts=[0])
    owners = torch.full((1, SIDE // 4, SIDE // 4), -1)
    owners[:, :, : SIDE // 8] = 0
    members = torch.zeros(3, 1, truth.stencils.shape[1], dtype=torch.bool)
    members[1, 0, 0] = True
    return replace(truth, owners=owners, text_members=members)


def directions(*which: int) -> torch.Tensor:
    """Unit vectors of 4 channels."""
    return torch.eye(4)[list(which)]


def coarse_map(inside: int, outside: int) -> torch.Tensor:
    """A map that points one way on the object and another elsewhere."""
    picked = torch.full((CELLS, CELLS), outside)
    picked[:, : CELLS // 2] = inside
    return directions(*picked.flatten().tolist()).T.reshape(1, 4, CELLS, CELLS)


def test_cells_are_pulled_to_the_text_that_describes_them() -> None:
    head = AlignmentHead()
    texts = directions(0, 1, 2)[:, None].expand(-1, 2, -1)
    right, wrong = coarse_map(1, 0), coarse_map(0, 1)
    assert float(head(right, texts, one_object()).detach()) < 0.01
    assert float(head(wrong, texts, one_object()).detach()) > 5
    assert head.accuracy(right, texts, one_object()) == 1.0
    assert head.accuracy(wrong, texts, one_object()) == 0.0


def test_the_loss_is_cross_entropy_both_ways() -> None:
    head = AlignmentHead()
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, 4, CELLS, CELLS, generator=generator)
    texts = torch.randn(3, 2, 4, generator=generator)
    cells = coarse[0, :, :, : CELLS // 2].flatten(1).T
    by_cell, by_text = [], []
    for place in range(2):
        cosine = torch.nn.functional.cosine_similarity(
            cells[:, None], texts[None, :, place], dim=-1
        )
        logits = cosine * 10
        by_cell.append(-logits.log_softmax(1)[:, 1].mean())
        # All cells are the object's: whichever the text picks is right.
        by_text.append(torch.zeros(()))
    expected = torch.stack(by_cell).mean() + 0.5 * torch.stack(by_text).mean()
    assert float(head(coarse, texts, one_object()).detach()) == pytest.approx(
        float(expected), abs=1e-5
    )


def test_nothing_to_describe_costs_nothing() -> None:
    truth = one_object()
    silent = replace(truth, text_members=torch.zeros_like(truth.text_members))
    coarse = coarse_map(0, 1).requires_grad_()
    loss = AlignmentHead()(coarse, torch.randn(3, 2, 4), silent)
    assert float(loss.detach()) == 0.0
    loss.backward()


def test_last_word_and_end_are_picked_whatever_the_padding() -> None:
    model = Detector(small_detector_config(vocab_size=64)).eval()
    ids = torch.tensor([[62, 5, 9, 63, 63, 63], [62, 5, 7, 8, 9, 63]])
    with torch.no_grad():
        both = spoken(model, ids, torch.tensor([4, 6]))
        short = model.encode_text(ids[:1, :4], torch.ones(1, 4)).tokens
    torch.testing.assert_close(both[0], short[0, 2:4])
