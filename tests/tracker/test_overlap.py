"""Overlapping masklets: the rules against transformers' own functions."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskstream.core.errors import InputError
from maskstream.core.masks import boxes_from_masks, mask_iou, non_overlapping
from maskstream.tracker import overlap
from maskstream.tracker.overlap import (
    NO_OBJECT_LOGIT,
    overlap_groups,
    resize_and_separate,
    suppress_by_recent_occlusion,
    suppress_shrunk,
)
from maskstream.tracker.video_config import VideoConfig
from tests.parity.reference import video_model_class
from tests.tracker.reference_rules import reference_rules

seeds = st.integers(0, 2**32 - 1)


def masks_near_each_other(rng: np.random.Generator, count: int) -> Tensor:
    """(count, 10, 12) logits of rectangles with some noise, much overlapped; some are empty."""
    masks = -1 - rng.random((count, 10, 12), np.float32)
    for mask in masks:
        y, x = rng.integers(0, 4, 2)
        height, width = rng.integers(3, 6, 2) * (rng.random() > 1 / 8)
        part = mask[y : y + height, x : x + width]
        part[:] = 0.1 + rng.random(part.shape, np.float32)
    return torch.from_numpy(masks)


# --- groups ---------------------------------------------------------------------------------------


def test_equal_concepts_compete_and_none_are_alone() -> None:
    groups, count = overlap_groups([5, -1, 5, 0, -1, -2, 0])
    assert count == 5
    assert sorted(set(groups.tolist())) == list(range(5))
    same = groups[:, None] == groups[None, :]
    expected = np.eye(7, dtype=np.bool_)
    expected[[0, 2, 3, 6], [2, 0, 6, 3]] = True
    assert (same == expected).all()


def test_no_groups() -> None:
    groups, count = overlap_groups([])
    assert groups.shape == (0,)
    assert count == 0


# --- recent occlusion -----------------------------------------------------------------------------


def suppressed_by_transformers(
    masks: Tensor,
    prompt_ids: list[int],
    last_occluded: list[int | None],
    removed: list[bool],
    reverse: bool,
    threshold: float,
) -> list[bool]:
    config = VideoConfig(suppress_overlapping_based_on_recent_occlusion_threshold=threshold)
    count = len(prompt_ids)
    session = SimpleNamespace(
        obj_ids=list(range(count)),
        obj_id_to_prompt_id=dict(enumerate(prompt_ids)),
        obj_id_to_last_occluded={
            obj_id: torch.tensor([frame])
            for obj_id, frame in enumerate(last_occluded)
            if frame is not None
        },
    )
    # No logit of ours is so low: what has it afterwards was suppressed.
    out = reference_rules(config)._suppress_overlapping_based_on_recent_occlusion(
        inference_session=session,
        frame_idx=77,
        tracker_low_res_masks_global=masks.clone(),
        tracker_metadata_new={},
        obj_ids_newly_removed={obj_id for obj_id, gone in enumerate(removed) if gone},
        reverse=reverse,
    )
    suppressed: list[bool] = (out == -10).flatten(1).all(1).tolist()
    return suppressed


@settings(max_examples=70)
@given(seeds, st.booleans())
def test_who_was_occluded_last_gives_way_as_in_transformers(seed: int, reverse: bool) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    masks = masks_near_each_other(rng, count)
    prompt_ids = rng.integers(0, 2, count).tolist()
    last: list[int | None] = [
        None if rng.random() < 0.3 else int(rng.integers(0, 5)) for _ in range(count)
    ]
    # Played backwards transformers' "always occluded" turns into its contrary; ours does not.
    removed = rng.random(count) < (0 if reverse else 0.3)
    threshold = float(rng.choice([0.1, 0.3, 0.6]))
    inside = masks > 0
    ours = suppress_by_recent_occlusion(
        mask_iou(inside, inside).numpy(), prompt_ids, last, removed, reverse, threshold
    )
    assert ours.tolist() == suppressed_by_transformers(
        masks, prompt_ids, last, removed.tolist(), reverse, threshold
    )


SAME = np.ones((2, 2), np.float32)
NOBODY = np.zeros(2, np.bool_)


@pytest.mark.parametrize(
    ("last", "reverse", "expected"),
    [
        ((3, 9), False, [False, True]),
        ((9, 3), False, [True, False]),
        ((3, 9), True, [True, False]),
        ((0, 9), False, [False, True]),  # frame 0 is a frame, not "never"
        ((0, 9), True, [True, False]),
        ((5, 5), False, [False, False]),
        ((None, 9), False, [False, False]),
        ((None, 9), True, [True, False]),
        ((None, None), True, [False, False]),
        ((250_000, 9), False, [True, False]),  # beyond what transformers takes for "always"
    ],
)
def test_of_two(last: tuple[int | None, int | None], reverse: bool, expected: list[bool]) -> None:
    found = suppress_by_recent_occlusion(SAME, [0, 0], last, NOBODY, reverse, 0.7)
    assert found.tolist() == expected


def test_a_withdrawn_one_gives_way_however_late_the_frame() -> None:
    removed = np.array([True, False])
    for reverse in (False, True):
        found = suppress_by_recent_occlusion(SAME, [0, 0], [None, 10**7], removed, reverse, 0.7)
        assert found.tolist() == [True, False]


def test_overlap_threshold_and_concepts() -> None:
    iou = np.array([[1, 0.7], [0.7, 1]], np.float32)
    assert suppress_by_recent_occlusion(iou, [0, 0], [1, 2], NOBODY, False, 0.7).any()
    assert not suppress_by_recent_occlusion(iou, [0, 0], [1, 2], NOBODY, False, 0.71).any()
    assert not suppress_by_recent_occlusion(iou, [0, 1], [1, 2], NOBODY, False, 0.7).any()
    assert not suppress_by_recent_occlusion(iou, [-1, -1], [1, 2], NOBODY, False, 0.7).any()
    assert not suppress_by_recent_occlusion(iou, [0, 0], [1, 2], NOBODY, False, 0.0).any()


@pytest.mark.parametrize("count", [0, 1])
def test_nobody_to_give_way_to(count: int) -> None:
    iou = np.ones((count, count), np.float32)
    removed = np.zeros(count, np.bool_)
    found = suppress_by_recent_occlusion(iou, [0] * count, [4] * count, removed, False, 0.5)
    assert found.tolist() == [False] * count


# --- shrinkage ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seeds)
def test_shrunk_ones_are_emptied_as_in_transformers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 8))
    masks = masks_near_each_other(rng, count)
    prompt_ids = rng.integers(0, int(rng.integers(1, 4)), count).tolist()
    theirs = reference_rules(VideoConfig())._suppress_object_pw_area_shrinkage(
        masks[:, None].clone(), prompt_ids
    )[:, 0]
    before = masks.clone()
    assert torch.equal(suppress_shrunk(masks, prompt_ids), theirs)
    assert torch.equal(masks, before)


@settings(max_examples=30)
@given(seeds)
def test_pixels_go_to_one_mask_as_in_transformers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6))
    masks = masks_near_each_other(rng, count)
    theirs = reference_rules(VideoConfig())._apply_non_overlapping_constraints(masks[:, None])
    won = non_overlapping(masks, torch.zeros(count, dtype=torch.int64), 1)
    assert torch.equal(won, theirs[:, 0] > 0)


def beside(*parts: tuple[int, int, float]) -> Tensor:
    """(N, 1, 20) logits: from, to, how high."""
    masks = torch.full((len(parts), 1, 20), -3.0)
    for mask, (first, last, logit) in zip(masks, parts, strict=True):
        mask[0, first:last] = logit
    return masks


def test_less_than_three_tenths_left_is_too_little() -> None:
    """Of ten pixels three are left, or two."""
    three = beside((0, 10, 1.0), (3, 20, 2.0))
    assert torch.equal(suppress_shrunk(three, [0, 0]), three)
    two = beside((0, 10, 1.0), (2, 20, 2.0))
    emptied = suppress_shrunk(two, [0, 0])
    assert (emptied[0] == NO_OBJECT_LOGIT).all()
    assert torch.equal(emptied[1], two[1])


def test_already_lower_logits_stay_lower() -> None:
    masks = beside((0, 10, 1.0), (0, 20, 2.0))
    masks[0, 0, 15:] = -50.0
    emptied = suppress_shrunk(masks, [0, 0])
    assert (emptied[0, 0, 15:] == -50.0).all()
    assert (emptied[0, 0, :15] == NO_OBJECT_LOGIT).all()


def test_what_is_alone_is_not_touched() -> None:
    """A mask that is empty, under another of no concept, and under one of another concept."""
    masks = beside((0, 0, 1.0), (0, 10, 1.0), (0, 20, 2.0), (0, 20, 3.0))
    assert suppress_shrunk(masks, [-1, -1, 0, 1]) is masks
    kept = suppress_shrunk(masks, [0, -1, 1, 1])
    assert torch.equal(kept[:2], masks[:2])
    assert (kept[2] == NO_OBJECT_LOGIT).all()
    nothing = masks[:0]
    assert suppress_shrunk(nothing, []) is nothing


# --- at the video's own size ----------------------------------------------------------------------


def separated_by_transformers(
    masks: Tensor, scores: Tensor, prompt_ids: list[int], size: tuple[int, int]
) -> Tensor:
    """What its processor makes of them; masks that come out empty it leaves away."""
    video_model_class()  # transformers looks for torchvision, and must not, when this is imported
    processing_sam3_video = importlib.import_module(
        "transformers.models.sam3_video.processing_sam3_video"
    )
    processor: Any = object.__new__(processing_sam3_video.Sam3VideoProcessor)
    count = len(prompt_ids)
    session = SimpleNamespace(
        video_height=size[0],
        video_width=size[1],
        hotstart_removed_obj_ids=set(),
        obj_id_to_prompt_id=dict(enumerate(prompt_ids)),
        prompts={prompt_id: str(prompt_id) for prompt_id in prompt_ids},
    )
    outputs = {
        "obj_id_to_mask": {row: masks[row : row + 1] for row in range(count)},
        "obj_id_to_score": dict(enumerate(scores.tolist())),
        "obj_id_to_tracker_score": dict(enumerate(scores.tolist())),
        "suppressed_obj_ids": None,
    }
    # Boxes, which nobody looks at here, are torchvision's.
    with mock.patch.object(processing_sam3_video, "masks_to_boxes", boxes_from_masks, create=True):
        told = processor.postprocess_outputs(session, outputs)
    out = torch.zeros(count, *size, dtype=torch.bool)
    out[told["object_ids"]] = told["masks"]
    return out


@settings(max_examples=30)
@given(seeds)
def test_masks_of_a_concept_do_not_overlap_as_in_transformers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    masks = masks_near_each_other(rng, count)
    scores = torch.from_numpy(rng.permutation(count)) / 10 + 0.1
    prompt_ids = rng.integers(0, 3, count).tolist()
    size = (int(rng.integers(5, 25)), int(rng.integers(5, 25)))
    ours = resize_and_separate(masks, scores, prompt_ids, size)
    assert ours.dtype == torch.bool
    assert torch.equal(ours, separated_by_transformers(masks, scores, prompt_ids, size))


def test_first_wins_among_equal_scores_and_a_score_of_0_is_one() -> None:
    masks = torch.ones(3, 2, 2)
    won = resize_and_separate(masks, torch.tensor([0.0, 0.5, 0.5]), [3, 3, 3], (4, 4))
    assert won.flatten(1).all(1).tolist() == [False, True, False]
    won = resize_and_separate(masks[:1], torch.tensor([0.0]), [3], (4, 4))
    assert won.all()
    won = resize_and_separate(masks[:2], torch.tensor([0.0, 0.0]), [3, 3], (4, 4))
    assert won.flatten(1).any(1).tolist() == [True, False]


def test_other_concepts_and_none_keep_their_pixels() -> None:
    masks = torch.ones(4, 2, 2)
    won = resize_and_separate(masks, torch.tensor([0.1, 0.2, 0.3, 0.4]), [0, 1, -1, -1], (3, 3))
    assert won.all()


def test_a_loser_keeps_what_the_winner_does_not_claim() -> None:
    masks = beside((0, 12, 1.0), (8, 20, 1.0))
    won = resize_and_separate(masks, torch.tensor([0.3, 0.9]), [0, 0], (1, 20))
    assert won[0, 0].tolist() == [x < 8 for x in range(20)]
    assert won[1, 0].tolist() == [x >= 8 for x in range(20)]


def test_in_parts_as_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    masks = masks_near_each_other(rng, 9)
    scores = torch.from_numpy(rng.random(9))
    prompt_ids = [0, 1, 0, -1, 1, 0, 2, 0, 1]
    whole = resize_and_separate(masks, scores, prompt_ids, (17, 23))
    for pixels in (1, 17 * 23 * 2, 17 * 23 * 4):
        monkeypatch.setattr(overlap, "PIXELS_AT_A_TIME", pixels)
        assert torch.equal(resize_and_separate(masks, scores, prompt_ids, (17, 23)), whole)


def test_half_precision_is_resized_in_full() -> None:
    masks = masks_near_each_other(np.random.default_rng(5), 3).bfloat16()
    scores = torch.tensor([0.1, 0.2, 0.3])
    assert torch.equal(
        resize_and_separate(masks, scores, [0, 0, 0], (30, 30)),
        resize_and_separate(masks.float(), scores, [0, 0, 0], (30, 30)),
    )


def test_no_masks() -> None:
    assert resize_and_separate(torch.zeros(0, 4, 4), torch.zeros(0), [], (6, 7)).shape == (0, 6, 7)


@pytest.mark.parametrize(("num_scores", "num_prompts"), [(1, 2), (2, 3), (3, 2)])
def test_one_score_and_one_prompt_for_each(num_scores: int, num_prompts: int) -> None:
    with pytest.raises(InputError, match="2 masks"):
        resize_and_separate(torch.ones(2, 4, 4), torch.ones(num_scores), [0] * num_prompts, (4, 4))
