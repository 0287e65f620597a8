from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from training.data import BatchPlan, make_batch
from training.frames import (
    FULL_SIDE,
    MAX_TARGETS,
    crowd_at,
    reduce_frame,
    sample_frame,
    visible_boxes,
)
from training.names import KINDS, SHAPES, is_chinese
from training.queries import draw_queries, draw_texts, members_of
from training.scenes import Frame
from training.tokenizer import load_fitted
from training.vocabulary import (
    CHINESE_COLORS,
    COLORS,
    HELD_OUT,
    VISUAL,
    Concept,
    all_concepts,
    concept_named,
    phrasings,
)

TOKENIZER = load_fitted()
PLAN = BatchPlan(
    side=64, images=3, concepts=4, exemplar_rate=0.3, split="train", first=0, count=2, texts=24
)
MEANINGS: dict[str, Concept] = {
    phrase: concept for concept in all_concepts(held_out=True) for phrase in phrasings(concept)
}


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


@pytest.mark.parametrize("number", range(6))
def test_cells_are_labelled_by_what_they_show(number: int) -> None:
    batch = make_batch(PLAN, number, TOKENIZER)
    image, y, x = torch.nonzero(batch.owners >= 0, as_tuple=True)
    kinds = batch.object_kinds[image, batch.owners[image, y, x]]
    shown = batch.kinds[image, y, x]
    assert torch.equal(shown, torch.where(kinds < 0, -1, kinds + 1))
    assert (batch.kinds[batch.owners < 0] == 0).all()
    assert (batch.colors[batch.owners < 0] == 0).all()
    is_shape = (kinds >= 0) & (kinds < len(SHAPES))
    colors = batch.colors[image, y, x]
    assert (colors[is_shape] >= 1).all()
    assert (colors[is_shape] <= len(COLORS)).all()
    assert (colors[~is_shape] == -1).all()


def test_texts_are_true_of_their_members_alone() -> None:
    rng = np.random.default_rng(0)
    frames = [sample_frame(seed, 64, "train") for seed in range(6)]
    texts = draw_texts(rng, frames, 40)
    assert len({text for text, _ in texts}) == 40
    for text, concept in texts:
        assert MEANINGS[text] == concept
    named = {
        (int(frame.kinds[i]), int(frame.colors[i]))
        for frame in frames
        for i in np.flatnonzero(frame.usable)
        if frame.kinds[i] >= 0
    }
    for kind, color in named:
        assert any(concept.matches(kind, color) for _, concept in texts)
    assert 8 < sum(is_chinese(text) for text, _ in texts) < 32


def test_texts_of_a_batch() -> None:
    batch = make_batch(PLAN, 3, TOKENIZER)
    assert batch.text_ids.shape == (24, 32)
    assert batch.text_members.shape == (24, 3, MAX_TARGETS)
    end = TOKENIZER.token_to_id("<|endoftext|>")
    for ids, length in zip(batch.text_ids, batch.text_lengths.tolist(), strict=True):
        assert ids[length - 1] == end
        assert (ids[1 : length - 1] != end).all()
    # Padding belongs to nothing, a usable thing with a name to something.
    for image in range(3):
        named = (batch.object_kinds[image] >= 0) & batch.object_usable[image]
        assert batch.text_members[:, image, named].any(0).all()
    counts = [len(sample_frame(9 + image, 64, "train").kinds) for image in range(3)]
    for image, count in enumerate(counts):
        assert not batch.text_members[:, image, count:].any()
        assert not batch.object_usable[image, count:].any()
    empty = make_batch(
        BatchPlan(
            side=64, images=1, concepts=1, exemplar_rate=0.0, split="train", first=0, count=1
        ),
        0,
        TOKENIZER,
    )
    assert empty.text_members.shape == (0, 1, MAX_TARGETS)
    assert empty.text_lengths.shape == (0,)


def test_no_prompt_of_training_names_a_held_out_pair() -> None:
    names = {f"{color} {shape}" for color, shape in HELD_OUT}
    for color, shape in HELD_OUT:
        chinese = KINDS[SHAPES.index(shape)].chinese
        names |= {f"{CHINESE_COLORS[COLORS.index(color)]}{joint}{chinese}" for joint in ("", "的")}
    rng = np.random.default_rng(0)
    frames = [sample_frame(seed, 64, "train") for seed in range(60)]
    texts = [text for text, _ in draw_texts(rng, frames, 1200)]
    for frame in frames:
        texts += [query.text for query in draw_queries(rng, frame, 20, 0.1)]
    assert len(set(texts)) > 1200
    for text in texts:
        assert not any(name in text for name in names), text


def test_queries_are_present_absent_and_shown() -> None:
    rng = np.random.default_rng(1)
    present = absent = shown = chinese = 0
    for seed in range(40):
        frame = sample_frame(seed, 64, "train")
        for query in draw_queries(rng, frame, 10, 0.2):
            chinese += is_chinese(query.text)
            if query.text == VISUAL:
                shown += 1
                assert query.members[list(query.positive)].all()
                assert not query.members[list(query.negative)].any()
            elif query.members.any():
                present += 1
            else:
                absent += 1
    assert min(present, absent, shown) > 40
    assert 0.2 < chinese / (present + absent) < 0.45


def test_members_are_those_that_the_words_mean() -> None:
    rng = np.random.default_rng(2)
    asked = 0
    for seed in range(40):
        frame = sample_frame(seed, 64, "train")
        pairs = list(zip(frame.kinds.tolist(), frame.colors.tolist(), strict=True))
        for query in draw_queries(rng, frame, 10, 0.0):
            concept = MEANINGS.get(query.text)
            if concept is None:
                assert not query.members.any()
                continue
            truth = [concept.matches(kind, color) for kind, color in pairs]
            if query.members.any():
                asked += 1
                assert query.members.tolist() == truth
            else:
                # Absent means that no pixel shows it.
                assert frame.coverage[truth].sum() == 0
    assert asked > 100


def test_the_nameless_are_like_nothing_but_themselves() -> None:
    rng = np.random.default_rng(3)
    checked = 0
    for seed in range(60):
        frame = sample_frame(seed, 96, "train")
        for query in draw_queries(rng, frame, 6, 1.0):
            if query.positive and frame.kinds[query.positive[0]] < 0:
                assert np.flatnonzero(query.members).tolist() == [query.positive[0]]
                checked += 1
    assert checked > 5


def test_near_misses_resemble_what_is_there() -> None:
    rng = np.random.default_rng(4)
    similar = 0
    for seed in range(60):
        frame = sample_frame(seed, 64, "train")
        groups = {KINDS[kind].group for kind in frame.kinds if kind >= len(SHAPES)}
        for query in draw_queries(rng, frame, 6, 0.0):
            concept = MEANINGS.get(query.text)
            if concept is not None and concept.kinds is not None and not query.members.any():
                similar += bool(groups & {KINDS[kind].group for kind in concept.kinds})
    assert similar > 25


def test_members_of_a_word() -> None:
    names = {kind.name: kind.number for kind in KINDS}
    frame = sample_frame(0, 64, "train")
    count = len(frame.kinds)
    kinds = np.full(count, -1, np.int64)
    kinds[: min(count, 2)] = [names["dog face"], names["wolf"]][:count]
    changed = type(frame)(
        **{field.name: getattr(frame, field.name) for field in fields(frame)} | {"kinds": kinds}
    )
    assert members_of(changed, concept_named("dog")).tolist() == [True] + [False] * (count - 1)


def test_what_is_too_small_is_not_asked_for() -> None:
    visible = np.zeros((4, 96, 96), np.float32)
    visible[0, 10:24, 10:24] = 1  # enough
    visible[1, 40:52, 40:52] = 1  # enough for a shape, not for a picture
    visible[2, 40:52, 70:82] = 1
    visible[3, 60:80, 10:30] = 1  # a tenth of the whole
    frame = Frame(
        image=np.zeros((96, 96, 3), np.uint8),
        visible=visible,
        amodal_area=np.asarray([196, 144, 144, 4000], np.float32),
        obj_ids=np.arange(4),
        kinds=np.asarray([50, 60, 0, 70]),
        colors=np.asarray([-1, -1, 2, -1]),
    )
    assert reduce_frame(frame).usable.tolist() == [True, False, True, False]


def test_smaller_pictures_hold_fewer_and_larger_things() -> None:
    full, half = crowd_at(FULL_SIDE), crowd_at(FULL_SIDE // 2)
    assert full == {"num_objects": (1, MAX_TARGETS), "zoom": 1.0}
    assert half["num_objects"] == (1, 4)
    assert 1.5 < half["zoom"] < 2
    assert crowd_at(FULL_SIDE // 4, least=4)["num_objects"] == (4, 4)
    assert crowd_at(FULL_SIDE * 2)["num_objects"] == (1, MAX_TARGETS)


def test_boxes_of_masks() -> None:
    masks = np.zeros((2, 10, 20), dtype=np.bool_)
    masks[0, 2:5, 4:10] = True
    assert visible_boxes(masks)[0].tolist() == pytest.approx([7 / 20, 3.5 / 10, 6 / 20, 3 / 10])
    assert visible_boxes(masks)[1].tolist() == [0, 0, 0, 0]
