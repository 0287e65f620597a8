"""Association against transformers' own function, and against the rules as plain loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.masks import mask_iou
from maskstream.tracker.association import NO_DETECTION, Association, associate, within_limit
from maskstream.tracker.video_config import VideoConfig
from tests.tracker.reference_rules import reference_rules

CONFIG = VideoConfig(high_conf_thresh=0.75, high_iou_thresh=0.5, new_det_thresh=0.5)
OBJ_ID = 100
"""Identity of the first masklet, so that identities and rows cannot be mistaken."""

seeds = st.integers(0, 2**32 - 1)


def boxes_near_each_other(rng: np.random.Generator, count: int) -> Tensor:
    """(count, 8, 8) logits of rectangles, around a few places, so that overlaps of all sizes
    occur; one in eight is empty."""
    masks = np.full((count, 8, 8), -2.0, np.float32)
    for mask in masks:
        y, x = 4 * rng.integers(0, 2, 2)
        top, left = rng.integers(0, 2, 2)
        height, width = rng.integers(2, 4, 2) * (rng.random() > 1 / 8)
        mask[y + top : y + top + height, x + left : x + left + width] = 2.0
    return torch.from_numpy(masks)


class Scene:
    """Detections and masklets at random."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.num_detections, self.num_masklets = rng.integers(0, 8, 2).tolist()
        self.detections = boxes_near_each_other(rng, self.num_detections)
        self.masklets = boxes_near_each_other(rng, self.num_masklets)
        scores = rng.choice([0.2, 0.49, 0.5, 0.6, 0.75, 0.9], self.num_detections)
        self.scores = scores.astype(np.float32)
        self.prompts = rng.integers(0, 2, self.num_detections)
        self.masklet_prompts = rng.integers(0, 2, self.num_masklets)

    @property
    def iou(self) -> NDArray[np.float32]:
        return mask_iou(self.detections > 0, self.masklets > 0).numpy()

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        return ~(self.masklets > 0).flatten(1).any(1).numpy()

    def ours(self, config: VideoConfig = CONFIG, *, num_places: int = 1000) -> Association:
        association = associate(
            self.iou,
            self.scores,
            self.prompts,
            self.masklet_prompts.tolist(),
            self.is_empty,
            config,
            established=self.num_masklets > 0,
        )
        return within_limit(association, self.scores, num_places)

    def theirs(self) -> Any:
        return reference_rules(CONFIG)._associate_det_trk(
            det_masks=self.detections,
            det_scores=torch.from_numpy(self.scores),
            trk_masks=self.masklets,
            trk_obj_ids=[OBJ_ID + row for row in range(self.num_masklets)],
            det_prompt_ids=torch.from_numpy(self.prompts),
            trk_prompt_ids=torch.from_numpy(self.masklet_prompts),
        )


@settings(max_examples=80)
@given(seeds)
def test_as_transformers_associates(seed: int) -> None:
    scene = Scene(seed)
    ours = scene.ours()
    new, unmatched, matched, confirming, empty = scene.theirs()
    assert ours.new_detections.tolist() == new
    assert ours.num_dropped == 0
    assert (np.flatnonzero(ours.is_unmatched) + OBJ_ID).tolist() == unmatched
    if scene.num_masklets:
        assert (np.flatnonzero(ours.is_empty) + OBJ_ID).tolist() == empty
    for detection in range(scene.num_detections):
        rows = np.flatnonzero(ours.matches[detection]) + OBJ_ID
        assert rows.tolist() == matched.get(detection, [])
    found = {
        row + OBJ_ID: detection
        for row, detection in enumerate(ours.confirming.tolist())
        if detection != NO_DETECTION
    }
    assert found == confirming


def test_the_scenes_above_hold_every_case() -> None:
    """Else the comparison would say nothing."""
    seen = {name: 0 for name in ("new", "unmatched", "confirming", "shared", "scores")}
    for seed in range(60):
        ours = Scene(seed).ours()
        seen["new"] += ours.new_detections.size
        seen["unmatched"] += int(ours.is_unmatched.sum())
        seen["confirming"] += int((ours.confirming != NO_DETECTION).sum())
        seen["shared"] += int((ours.matches.sum(axis=1) > 1).sum())
        seen["scores"] += int((~np.isnan(ours.scores)).sum())
    assert min(seen.values()) >= 10, seen


@settings(max_examples=80)
@given(seeds)
def test_scores_are_those_of_the_closest_detection(seed: int) -> None:
    scene = Scene(seed)
    ours, iou = scene.ours(), scene.iou
    assert ours.scores.dtype == np.float32
    for row in range(scene.num_masklets):
        best, expected = 0.0, float("nan")
        for detection in range(scene.num_detections):
            overlap = iou[detection, row]
            same = scene.prompts[detection] == scene.masklet_prompts[row]
            if same and overlap >= CONFIG.trk_assoc_iou_thresh and overlap > best:
                best, expected = overlap, scene.scores[detection]
        assert ours.scores[row] == pytest.approx(expected, nan_ok=True)


@settings(max_examples=80)
@given(seeds)
def test_sighted_is_the_detection_that_overlaps_most(seed: int) -> None:
    scene = Scene(seed)
    ours = scene.ours()
    for row in range(scene.num_masklets):
        loose = np.where(ours.matches[:, row], scene.iou[:, row], -1.0)
        expected = int(loose.argmax()) if ours.matches[:, row].any() else NO_DETECTION
        assert ours.sighted[row] == expected
    assert (ours.resumed == NO_DETECTION).all()


@settings(max_examples=40)
@given(seeds, st.integers(-1, 6))
def test_the_best_scored_get_the_places(seed: int, num_places: int) -> None:
    scene = Scene(seed)
    everyone = scene.ours().new_detections.tolist()
    ours = scene.ours(num_places=num_places)
    room = max(num_places, 0)
    if len(everyone) <= room:
        assert ours.new_detections.tolist() == everyone
        assert ours.num_dropped == 0
    else:
        ranked = sorted(everyone, key=lambda detection: (-scene.scores[detection], detection))
        assert ours.new_detections.tolist() == ranked[:room]
        assert ours.num_dropped == len(everyone) - room


def one_pair(
    iou: float,
    *,
    score: float = 0.9,
    prompts: tuple[int, int] = (0, 0),
    established: bool = True,
    config: VideoConfig = CONFIG,
) -> Association:
    """One detection and one masklet."""
    return associate(
        np.array([[iou]], np.float32),
        np.array([score], np.float32),
        np.array([prompts[0]]),
        [prompts[1]],
        np.array([False]),
        config,
        established=established,
    )


def test_thresholds_are_reached_by_what_equals_them_in_float32() -> None:
    """0.1, 0.7 and 0.8 as float32 lie on either side of the same in float64."""
    config = replace(
        CONFIG,
        assoc_iou_thresh=0.1,
        trk_assoc_iou_thresh=0.7,
        new_det_thresh=0.7,
        high_conf_thresh=0.8,
        high_iou_thresh=0.8,
    )
    assert one_pair(0.1, config=config).matches.all()
    assert not one_pair(0.0999, config=config).matches.any()
    assert not one_pair(0.7, config=config).is_unmatched.any()
    assert one_pair(0.6999, config=config).is_unmatched.all()
    assert one_pair(0.0, score=0.7, config=config).new_detections.size == 1
    assert one_pair(0.0, score=0.6999, config=config).new_detections.size == 0
    assert one_pair(0.8, score=0.8, config=config).confirming.tolist() == [0]
    assert one_pair(0.7999, score=0.8, config=config).confirming.tolist() == [NO_DETECTION]
    assert one_pair(0.8, score=0.7999, config=config).confirming.tolist() == [NO_DETECTION]


def test_first_masklets_need_no_high_score() -> None:
    assert one_pair(0.0, score=0.3, established=False).new_detections.tolist() == [0]
    assert one_pair(0.0, score=0.3, established=True).new_detections.size == 0


@pytest.mark.parametrize("prompts", [(0, 1), (0, -1), (-1, -1)])
def test_other_concepts_and_none_do_not_match(prompts: tuple[int, int]) -> None:
    found = one_pair(1.0, prompts=prompts)
    assert not found.matches.any()
    assert found.is_unmatched.all()
    assert np.isnan(found.scores).all()
    assert found.confirming.tolist() == [NO_DETECTION]
    assert found.new_detections.tolist() == [0]


def test_of_several_confirming_detections_the_last_stays() -> None:
    found = associate(
        np.array([[0.9], [0.8], [0.95]], np.float32),
        np.array([0.9, 0.9, 0.1], np.float32),
        np.zeros(3, np.int64),
        [0],
        np.array([False]),
        CONFIG,
        established=True,
    )
    assert found.confirming.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([0.1])


def test_what_is_passed_over_counts_neither_way() -> None:
    found = associate(
        np.array([[0.9, 0.0, 0.0]], np.float32),
        np.array([0.9], np.float32),
        np.zeros(1, np.int64),
        [0, 0, 0],
        np.array([False, False, True]),
        CONFIG,
        established=True,
    )
    assert found.matches.tolist() == [[True, False, False]]
    assert found.is_unmatched.tolist() == [False, True, False]
    nothing = found.without(np.array([True, True, True]))
    assert not nothing.matches.any()
    assert not nothing.is_unmatched.any()
    assert not nothing.is_empty.any()
    assert nothing.confirming.tolist() == [NO_DETECTION] * 3
    # That it was seen, and how well, is still told.
    assert nothing.scores[0] == np.float32(0.9)
    assert found.without(np.array([False, True, False])).confirming.tolist()[0] == 0
    assert found.without(np.zeros(3, np.bool_)) is found
