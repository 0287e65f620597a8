"""Identities given back to what was out of sight: who gets which detection, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskstream.tracker.association import NO_DETECTION, Association, associate
from maskstream.tracker.lifecycle import Masklet, Sighting, start_masklet
from maskstream.tracker.reidentify import note_sightings, reidentify
from maskstream.tracker.video_config import VideoConfig

CONFIG = VideoConfig(
    reidentify_within=20,
    reidentify_distance=0.1,
    reidentify_speed=0.02,
    reidentify_size_ratio=0.5,
)
NOW = 30


def box_at(x: float, y: float = 0.5, side: float = 0.1) -> tuple[float, float, float, float]:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def masklet_at(
    x: float, *, frames_ago: int = 5, prompt_id: int = 0, obj_id: int = 0, side: float = 0.1
) -> Masklet:
    return start_masklet(
        obj_id=obj_id,
        prompt_id=prompt_id,
        frame_index=NOW - frames_ago,
        score=0.9,
        box=box_at(x, side=side),
        config=CONFIG,
    )


def resumed(
    detections: list[float],
    masklets: list[Masklet],
    *,
    config: VideoConfig = CONFIG,
    overlaps: dict[tuple[int, int], float] | None = None,
    prompts: list[int] | None = None,
    available: list[bool] | None = None,
    side: float = 0.1,
) -> Association:
    iou = np.zeros((len(detections), len(masklets)), np.float32)
    for place, overlap in (overlaps or {}).items():
        iou[place] = overlap
    scores = np.linspace(0.95, 0.9, len(detections)).astype(np.float32)
    concepts = np.array([0] * len(detections) if prompts is None else prompts, np.int64)
    association = associate(
        iou,
        scores,
        concepts,
        [masklet.prompt_id for masklet in masklets],
        np.ones(len(masklets), np.bool_),
        config,
        established=True,
    )
    boxes = np.array([box_at(x, side=side) for x in detections], np.float32).reshape(-1, 4)
    allowed = np.array([True] * len(masklets) if available is None else available, np.bool_)
    return reidentify(association, boxes, scores, concepts, masklets, allowed, NOW, config)


def test_a_detection_near_by_is_the_one_that_was_out_of_sight() -> None:
    found = resumed([0.6], [masklet_at(0.5)])
    assert found.resumed.tolist() == [0]
    assert found.sighted.tolist() == [0]
    assert found.matches.tolist() == [[True]]
    assert found.scores.tolist() == pytest.approx([0.95])
    assert found.new_detections.size == 0
    assert not found.is_unmatched.any()
    assert not found.is_empty.any()


def test_off_by_default() -> None:
    found = resumed([0.5], [masklet_at(0.5)], config=VideoConfig())
    assert found.resumed.tolist() == [NO_DETECTION]
    assert found.new_detections.tolist() == [0]


@pytest.mark.parametrize(
    ("frames_ago", "distance", "is_same"),
    [(5, 0.19, True), (5, 0.21, False), (15, 0.39, True), (20, 0.3, True), (21, 0.0, False)],
)
def test_how_far_it_may_have_come_depends_on_how_long_ago(
    frames_ago: int, distance: float, is_same: bool
) -> None:
    found = resumed([0.4 + distance], [masklet_at(0.4, frames_ago=frames_ago)])
    assert found.resumed.tolist() == [0 if is_same else NO_DETECTION]


def test_played_backwards_the_last_sighting_lies_ahead() -> None:
    assert resumed([0.5], [masklet_at(0.5, frames_ago=-20)]).resumed.tolist() == [0]
    assert resumed([0.5], [masklet_at(0.5, frames_ago=-21)]).resumed.tolist() == [NO_DETECTION]


@pytest.mark.parametrize(("side", "is_same"), [(0.08, True), (0.14, True), (0.07, False)])
def test_boxes_of_other_sizes_are_others(side: float, is_same: bool) -> None:
    found = resumed([0.5], [masklet_at(0.5)], side=side)
    assert found.resumed.tolist() == [0 if is_same else NO_DETECTION]


def test_what_cannot_be_it() -> None:
    away = masklet_at(0.5)
    other_concept = resumed([0.5], [away], prompts=[1])
    never_seen = resumed([0.5], [replace(away, last_seen=None)])
    given = resumed([0.5], [away], available=[False])
    weak = resumed([0.5], [away], config=replace(CONFIG, new_det_thresh=0.99))
    followed = resumed([0.5, 0.52], [away], overlaps={(0, 0): 0.6})
    for found in (other_concept, never_seen, given, weak, followed):
        assert found.resumed.tolist() == [NO_DETECTION]
    assert other_concept.new_detections.tolist() == given.new_detections.tolist() == [0]
    assert followed.new_detections.tolist() == [1]


def test_the_nearest_pair_goes_first() -> None:
    masklets = [masklet_at(0.5), masklet_at(0.56, obj_id=1)]
    found = resumed([0.57, 0.6], masklets)
    assert found.resumed.tolist() == [1, 0]
    assert found.new_detections.size == 0
    assert resumed([0.57], masklets).resumed.tolist() == [NO_DETECTION, 0]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_every_detection_goes_to_one_masklet_or_starts_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masklets = [
        masklet_at(rng.random(), frames_ago=int(rng.integers(1, 25)), obj_id=n)
        for n in range(int(rng.integers(0, 6)))
    ]
    places = rng.random(int(rng.integers(0, 6))).tolist()
    found = resumed(places, masklets)
    taken = found.resumed[found.resumed != NO_DETECTION].tolist()
    assert sorted(taken + found.new_detections.tolist()) == list(range(len(places)))
    for row, detection in enumerate(found.resumed.tolist()):
        # Whoever was passed over had nobody left within reach.
        last = masklets[row].last_seen
        assert last is not None
        frames = NOW - last.frame_index
        reach = 0.1 + 0.02 * frames if frames <= 20 else -1.0
        middle = (last.box[0] + last.box[2]) / 2
        if detection != NO_DETECTION:
            assert abs(places[detection] - middle) <= reach + 1e-6
        else:
            assert all(abs(places[n] - middle) > reach - 1e-6 for n in found.new_detections)


def test_sightings_are_noted_with_their_frame() -> None:
    masklets = [masklet_at(0.1), masklet_at(0.9, obj_id=1)]
    found = resumed([0.12, 0.5], masklets, overlaps={(0, 0): 0.3})
    boxes = np.array([box_at(0.125), box_at(0.5)], np.float32)
    first, second = note_sightings(masklets, found, boxes, NOW)
    assert first.last_seen == Sighting.of(NOW, boxes[0].tolist())
    assert second == masklets[1]


def test_what_is_kept_away_is_taken_up_near_by_alone_and_also_by_default() -> None:
    away = replace(masklet_at(0.5, frames_ago=15), kept_away=3)
    for config in (CONFIG, VideoConfig()):
        assert resumed([0.58], [away], config=config).resumed.tolist() == [0]
        # With time, what is shown may have come from farther.
        assert resumed([0.7], [away], config=config).resumed.tolist() == [NO_DETECTION]
    assert resumed([0.7], [masklet_at(0.5, frames_ago=15)]).resumed.tolist() == [0]
    long_ago = replace(masklet_at(0.5, frames_ago=31), kept_away=31)
    assert resumed([0.5], [long_ago]).resumed.tolist() == [NO_DETECTION]
    # Where each takes one up is as it is without the other.
    shown = masklet_at(0.6, obj_id=1)
    assert resumed([0.6, 0.5], [away, shown]).resumed.tolist() == [1, 0]
    assert resumed([0.6], [away, shown], config=VideoConfig()).resumed.tolist() == [0, -1]
