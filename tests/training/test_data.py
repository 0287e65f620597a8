from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from training.data import BatchPlan, draw_queries, make_batch, sample_frame, visible_boxes
from training.tokenizer import fit_tokenizer
from training.vocabulary import HELD_OUT, VISUAL, corpus

TOKENIZER = fit_tokenizer(corpus())
PLAN = BatchPlan(side=64, images=3, concepts=4, exemplar_rate=0.3, split="train", first=0, count=2)


def test_a_batch_depends_on_its_number_alone() -> None:
    first, again = make_batch(PLAN, 5, TOKENIZER), make_batch(PLAN, 5, TOKENIZER)
    other = make_batch(PLAN, 6, TOKENIZER)
    for field in fields(first):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert not torch.equal(first.pixels, other.pixels)


@pytest.mark.parametrize("number", range(8))
def test_targets_fit_their_masks(number: int) -> None:
    batch = make_batch(PLAN, number, TOKENIZER)
    cells = batch.target_masks.shape[-1]
    for row, count in enumerate(batch.target_count.tolist()):
        assert (batch.target_masks[row, count:] == 0).all()
        for mask, box in zip(
            batch.target_masks[row], batch.target_boxes[row, :count], strict=False
        ):
            assert (mask <= batch.semantic[row] + 1e-5).all()
            # A cell that is mostly the object's holds a pixel that is, and the box spans those.
            ys, xs = torch.nonzero(mask >= 0.5, as_tuple=True)
            center, size = box[:2] * cells, box[2:] * cells
            low, high = center - size / 2, center + size / 2
            if len(xs):
                assert xs.min() + 1 >= low[0]
                assert xs.max() <= high[0]
                assert ys.min() + 1 >= low[1]
                assert ys.max() <= high[1]


def test_no_prompt_of_training_names_a_held_out_pair() -> None:
    names = {f"{color} {shape}" for color, shape in HELD_OUT}
    rng = np.random.default_rng(0)
    texts = []
    for seed in range(60):
        frame = sample_frame(seed, 64, "train")
        texts += [query.text for query in draw_queries(rng, frame, 20, 0.1)]
    assert len(set(texts)) > 200
    for text in texts:
        assert not any(name in text for name in names), text


def test_queries_are_present_absent_and_shown() -> None:
    rng = np.random.default_rng(1)
    present = absent = shown = 0
    for seed in range(40):
        frame = sample_frame(seed, 64, "train")
        for query in draw_queries(rng, frame, 10, 0.2):
            if query.text == VISUAL:
                shown += 1
                assert query.members[list(query.positive)].all()
                assert not query.members[list(query.negative)].any()
            elif query.members.any():
                present += 1
            else:
                absent += 1
    assert min(present, absent, shown) > 40


def test_absent_means_that_no_pixel_shows_it() -> None:
    rng = np.random.default_rng(2)
    for seed in range(40):
        frame = sample_frame(seed, 64, "train")
        for query in draw_queries(rng, frame, 10, 0.0):
            words = query.text.split()
            for color, shape, cover in zip(frame.colors, frame.shapes, frame.coverage, strict=True):
                if words == [color, shape] and cover.sum() > 0:
                    assert query.members.any()


def test_boxes_of_masks() -> None:
    masks = np.zeros((2, 10, 20), dtype=np.bool_)
    masks[0, 2:5, 4:10] = True
    assert visible_boxes(masks)[0].tolist() == pytest.approx([7 / 20, 3.5 / 10, 6 / 20, 3 / 10])
    assert visible_boxes(masks)[1].tolist() == [0, 0, 0, 0]
