"""The tracker of a session: objects made, followed, corrected, removed, saved; nothing lost on the
way and nothing kept for ever."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError, InputError, PromptError, SessionLimitError
from maskstream.core.masks import mask_iou
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.lifecycle import KEPT_AWAY_FRAMES, MaskletState, Origin, Sighting
from maskstream.tracker.network.model import TrackerModel
from maskstream.tracker.promptable import MAX_KEPT_AWAY
from maskstream.tracker.tracked_frame import TrackedFrame
from maskstream.tracker.video_config import VideoConfig
from maskstream.tracker.video_tracker import NO_CONCEPT, VideoTracker
from tests.parity.copying_tracker import SIZE, copying_tracker, disc
from tests.parity.reference_tracker import random_video, randomise, tracker_config

NUM_FRAMES = 12
FOLLOWS = 0.15
"""Overlap that tells a masklet still on its disc; the discs do not touch each other."""

LEFT, RIGHT, LOW = (0.25, 0.3, 0.17), (0.75, 0.4, 0.17), (0.5, 0.8, 0.15)
"""Discs that stand still: x, y and radius in parts of the frame's side."""

CONFIG = VideoConfig(
    hotstart_delay=4, hotstart_unmatch_thresh=2, hotstart_dup_thresh=2, trk_assoc_iou_thresh=0.15
)


class Scene:
    """A tracker whose masks follow its memory, surely in the frame, and a video for it."""

    def __init__(self) -> None:
        self.model, self.video = copying_tracker(0, NUM_FRAMES)
        score = self.model.mask_decoder.pred_obj_score_head.proj_out
        with torch.no_grad():
            score.weight.zero_()
            score.bias.fill_(3.0)

    def tracker(self, config: VideoConfig = CONFIG) -> VideoTracker:
        return VideoTracker(self.model, config)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def found(
    *places: tuple[float, float, float], score: float = 0.9, prompts: list[int] | None = None
) -> Detections:
    """Detections of discs; of one concept if not said otherwise."""
    masks = [8 * disc(*place) - 4 for place in places]
    boxes = [(x - radius, y - radius, x + radius, y + radius) for x, y, radius in places]
    count = len(places)
    return Detections(
        prompt_ids=torch.tensor(prompts or [0] * count, dtype=torch.int64),
        scores=torch.full((count,), score),
        boxes=torch.tensor(boxes).reshape(count, 4),
        masks=torch.stack(masks) if masks else torch.zeros(0, SIZE, SIZE),
    )


def same(a: Any, b: Any) -> bool:
    """Plain data and tensors, all the way down; NaN equals itself."""
    if isinstance(a, Tensor):
        return (
            a.shape == b.shape
            and a.dtype == b.dtype
            and bool(a.eq(b).logical_or(a.isnan() & b.isnan()).all())
        )
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def same_frames(a: TrackedFrame, b: TrackedFrame) -> bool:
    return all(same(getattr(a, name), getattr(b, name)) for name in TrackedFrame.__slots__)


def overlap(mask_logits: Tensor, place: tuple[float, float, float]) -> float:
    return float(mask_iou(mask_logits[None] > 0, disc(*place)[None] > 0))


def memory_of(tracker: VideoTracker, row: int, frame_index: int) -> list[Tensor]:
    batch = tracker._store.memories.bank.gather(frame_index, reverse=False, rows=[row])
    return [batch.maps, batch.map_offsets, batch.map_valid, batch.pointers, batch.pointer_valid]


# --- followed -------------------------------------------------------------------------------------


def test_what_the_detector_finds_is_followed_and_confirmed(scene: Scene) -> None:
    tracker, seen = scene.tracker(), found(LEFT, RIGHT)
    first = tracker.step(0, scene.video[0], seen)
    assert first.obj_ids == [0, 1]
    assert first.prompt_ids == [0, 0]
    assert first.states == [MaskletState.PROVISIONAL] * 2
    assert torch.equal(first.low_res_masks, seen.masks)
    assert torch.equal(first.tracker_scores, seen.scores)
    assert first.frame_stats.num_new == 2
    for index in range(1, 8):
        frame = tracker.step(index, scene.video[index], seen)
        assert frame.obj_ids == [0, 1]
        assert frame.first_frames == [0, 0]
        assert frame.newly_confirmed == ([0, 1] if index == 3 else [])
        state = MaskletState.CONFIRMED if index >= 3 else MaskletState.PROVISIONAL
        assert frame.states == [state] * 2
        for mask, place in zip(frame.low_res_masks, (LEFT, RIGHT), strict=True):
            assert overlap(mask, place) > FOLLOWS
        assert torch.equal(frame.detection_scores, seen.scores)
        assert frame.tracker_scores.tolist() == pytest.approx([0.9526] * 2, abs=1e-3)


def test_without_detections_objects_are_still_followed(scene: Scene) -> None:
    tracker = scene.tracker(VideoConfig(hotstart_delay=0))
    tracker.step(0, scene.video[0], found(LEFT))
    for index in range(1, 6):
        frame = tracker.step(index, scene.video[index], found())
        assert frame.obj_ids == [0]
        assert overlap(frame.low_res_masks[0], LEFT) > FOLLOWS
        assert frame.detection_scores.isnan().all()
        assert frame.last_detection_scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_not_seen_again_is_withdrawn(scene: Scene, reverse: bool) -> None:
    tracker = scene.tracker()
    order = range(NUM_FRAMES - 1, -1, -1) if reverse else range(NUM_FRAMES)
    frames = []
    for step, index in enumerate(order):
        seen = found(LEFT, LOW) if step == 0 else found(LEFT)
        frames.append(tracker.step(index, scene.video[index], seen, reverse=reverse))
    assert [frame.obj_ids for frame in frames] == [[0, 1]] * 2 + [[0]] * (NUM_FRAMES - 2)
    assert [frame.newly_removed for frame in frames] == [[], [], [1]] + [[]] * (NUM_FRAMES - 3)
    assert frames[2].frame_stats.num_removed == 1
    assert frames[3].newly_confirmed == [0]
    assert len(tracker._store.memories.bank) == len(tracker.masklets) == 1


def test_new_ones_later_need_a_good_score_and_get_new_identities(scene: Scene) -> None:
    tracker = scene.tracker()
    tracker.step(0, scene.video[0], found(LEFT))
    assert tracker.step(1, scene.video[1], found(LEFT, RIGHT, score=0.6)).obj_ids == [0]
    frame = tracker.step(2, scene.video[2], found(LEFT, RIGHT, score=0.8))
    assert frame.obj_ids == [0, 1]
    assert frame.first_frames == [0, 2]
    tracker.remove_object(1)
    frame = tracker.step(3, scene.video[3], found(LEFT, RIGHT))
    assert frame.obj_ids == [0, 2], "an identity is never given twice"


def test_concepts_are_followed_apart(scene: Scene) -> None:
    tracker = scene.tracker()
    seen = found(LEFT, LEFT, prompts=[3, 5])
    for index in range(3):
        frame = tracker.step(index, scene.video[index], seen)
        assert frame.prompt_ids == [3, 5]
        assert frame.obj_ids == [0, 1]


def test_detections_of_another_size_are_brought_to_ours(scene: Scene) -> None:
    tracker = scene.tracker()
    seen = found(LEFT)
    half = torch.nn.functional.avg_pool2d(seen.masks[:, None], 2)[:, 0]
    coarse = Detections(seen.prompt_ids, seen.scores, seen.boxes, half)
    frame = tracker.step(0, scene.video[0], coarse)
    assert frame.low_res_masks.shape == (1, SIZE, SIZE)
    assert overlap(frame.low_res_masks[0], LEFT) > 0.8
    assert len(tracker.step(1, scene.video[1], Detections.empty((7, 9)))) == 1


def test_a_good_detection_reconditions(scene: Scene) -> None:
    config = VideoConfig(
        recondition_every_nth_frame=3, high_conf_thresh=0.5, high_iou_thresh=0.15, hotstart_delay=0
    )
    tracker, seen = scene.tracker(config), found(LEFT)
    frames = [tracker.step(index, scene.video[index], seen) for index in range(8)]
    assert [f.frame_stats.num_reconditioned for f in frames] == [0, 0, 0, 1, 0, 0, 1, 0]
    for index, frame in enumerate(frames):
        assert torch.equal(frame.low_res_masks, seen.masks) == (index in (0, 3, 6))
    assert tracker._store.memories.bank._index.tables["cond_frames"].max() == 6


AWAY = (0.75, 0.75, 0.17)
"""Where no masklet is, a few frames' way from RIGHT."""


def test_what_comes_back_elsewhere_keeps_its_identity(scene: Scene) -> None:
    config = VideoConfig(hotstart_delay=0, reidentify_within=8, reidentify_speed=0.05)
    tracker, without = scene.tracker(config), scene.tracker(VideoConfig(hotstart_delay=0))
    for index in range(8):
        seen = found(LEFT, RIGHT) if index < 2 else found(LEFT)
        before = tracker.step(index, scene.video[index], seen)
        without.step(index, scene.video[index], seen)
    assert overlap(before.low_res_masks[1], RIGHT) > FOLLOWS  # the tracker holds on to nothing
    seen = found(LEFT, AWAY)
    assert without.step(8, scene.video[8], seen).obj_ids == [0, 1, 2]
    back = tracker.step(8, scene.video[8], seen)
    assert back.obj_ids == [0, 1]
    assert back.first_frames == [0, 0]
    assert (back.frame_stats.num_resumed, back.frame_stats.num_new) == (1, 0)
    assert torch.equal(back.low_res_masks[1], seen.masks[1])
    assert back.detection_scores[1] == back.tracker_scores[1] == seen.scores[1]
    # It goes on from there, and what misled the tracker is forgotten but for the start.
    bank = tracker._store.memories.bank
    assert bank.gather(9, reverse=False, rows=[1]).map_offsets.tolist() == [[0, 0]]
    after = tracker.step(9, scene.video[9], seen)
    assert overlap(after.low_res_masks[1], AWAY) > FOLLOWS
    assert overlap(after.low_res_masks[1], RIGHT) < FOLLOWS


def test_what_resumes_leaves_the_masks_of_others_as_they_are(scene: Scene) -> None:
    """Later on they no longer compete with where it was thought to be."""
    config = VideoConfig(hotstart_delay=0, reidentify_within=8, reidentify_speed=0.05)
    tracker, alone = scene.tracker(config), scene.tracker(config)
    for index in range(9):
        seen = found(LEFT, RIGHT) if index < 2 else found(LEFT)
        frame = alone.step(index, scene.video[index], seen)
        seen = found(LEFT, AWAY) if index == 8 else seen
        other = tracker.step(index, scene.video[index], seen)
        assert torch.equal(frame.low_res_masks[0], other.low_res_masks[0])
    assert other.frame_stats.num_resumed == 1


def test_nothing_to_follow(scene: Scene) -> None:
    tracker = scene.tracker()
    frame = tracker.step(5, scene.video[0], found())
    assert len(frame) == 0
    assert frame.low_res_masks.shape == (0, SIZE, SIZE)
    assert frame.frame_stats.to_dict() == dict.fromkeys(frame.frame_stats.to_dict(), 0)


def test_who_finds_no_place_is_counted(scene: Scene) -> None:
    tracker = scene.tracker(VideoConfig(max_num_objects=2))
    seen = found(LEFT, RIGHT, LOW)
    seen.scores.copy_(torch.tensor([0.8, 0.9, 0.95]))
    frame = tracker.step(0, scene.video[0], seen)
    assert frame.frame_stats.num_dropped == 1
    assert [overlap(m, p) for m, p in zip(frame.low_res_masks, (LOW, RIGHT), strict=True)] == [1, 1]
    assert tracker.step(1, scene.video[1], seen).frame_stats.num_dropped == 1
    with pytest.raises(SessionLimitError, match="max_num_objects"):
        tracker.add_object(1, scene.video[1], points=[[0.5, 0.5]])
    # One that is there may be corrected still.
    assert tracker.add_object(1, scene.video[1], obj_id=0, points=[[0.5, 0.8]]).obj_id == 0


# --- started between frames -----------------------------------------------------------------------


def test_started_before_the_step_is_the_same_as_in_it(scene: Scene) -> None:
    ahead, seen = scene.tracker(), found(LEFT, RIGHT)
    assert ahead.start_objects(0, scene.video[0], seen) == [0, 1]
    told = ahead.prompted(0)
    assert told.obj_ids == [0, 1]
    assert torch.equal(told.low_res_masks, seen.masks)
    assert torch.equal(told.detection_scores, seen.scores)
    assert len(ahead.prompted(1)) == 0
    stepped = ahead.step(0, scene.video[0], seen)
    assert stepped.frame_stats.num_new == 0
    within = scene.tracker()
    direct = within.step(0, scene.video[0], seen)
    assert stepped.obj_ids == direct.obj_ids
    assert torch.equal(stepped.low_res_masks, direct.low_res_masks)
    assert torch.equal(stepped.tracker_scores, direct.tracker_scores)
    assert same_frames(ahead.step(1, scene.video[1], seen), within.step(1, scene.video[1], seen))


def test_started_twice_is_started_once(scene: Scene) -> None:
    tracker, seen = scene.tracker(), found(LEFT)
    assert tracker.start_objects(0, scene.video[0], seen) == [0]
    assert tracker.start_objects(0, scene.video[0], seen) == []
    assert tracker.start_objects(0, scene.video[0], found(LEFT, prompts=[7])) == [1]


# --- drawn ----------------------------------------------------------------------------------------


def test_a_drawn_mask_is_taken_as_it_is_and_followed(scene: Scene) -> None:
    tracker = scene.tracker()
    drawn = disc(*RIGHT) > 0
    made = tracker.add_object(0, scene.video[0], mask=drawn)
    assert made.obj_id == 0
    assert made.masklet.prompt_id == NO_CONCEPT
    assert made.masklet.origin is Origin.USER
    assert made.masklet.confirmed
    assert torch.equal(made.low_res_mask > 0, drawn)
    frame = tracker.step(0, scene.video[0], found())
    assert torch.equal(frame.low_res_masks[0], made.low_res_mask)
    assert frame.states == [MaskletState.CONFIRMED]
    for index in range(1, 5):
        frame = tracker.step(index, scene.video[index], found())
        assert overlap(frame.low_res_masks[0], RIGHT) > FOLLOWS
        assert frame.obj_ids == [0], "what a user made is not withdrawn"


@pytest.mark.parametrize(
    "drawn",
    [
        {"points": [[0.3, 0.3]]},
        {"points": [[0.3, 0.3], [0.9, 0.9]], "point_labels": [1, 0]},
        {"box": [0.1, 0.1, 0.5, 0.6]},
        {"box": [0.1, 0.1, 0.5, 0.6], "points": [[0.3, 0.3]]},
    ],
)
def test_clicks_and_boxes_answer_what_the_network_does(scene: Scene, drawn: dict[str, Any]) -> None:
    tracker = scene.tracker(VideoConfig(fill_hole_area=0))
    made = tracker.add_object(0, scene.video[0], **drawn)
    side = float(scene.model.config.image_size)
    points = torch.tensor(drawn["points"])[None] * side if "points" in drawn else None
    labels = drawn.get("point_labels", [1] * len(drawn.get("points", [])))
    with torch.no_grad():
        answer = scene.model.prompt(
            scene.model.embed(scene.video[0]),
            points=points,
            point_labels=torch.tensor([labels]) if points is not None else None,
            boxes=torch.tensor([drawn["box"]]) * side if "box" in drawn else None,
            memory=None,
        )
    assert torch.equal(made.low_res_mask, answer.low_res_masks[0])
    assert made.iou_score == pytest.approx(float(answer.iou_scores))
    shown = tracker.step(0, scene.video[0], found())
    assert torch.equal(shown.low_res_masks[0], made.low_res_mask)
    assert shown.tracker_scores.tolist() == pytest.approx([made.tracker_score])


def test_further_clicks_are_like_all_at_once(scene: Scene) -> None:
    """Starting from nothing; the earlier ones are kept unless they are cleared."""
    clicks = [[0.3, 0.3], [0.7, 0.7]]
    at_once = scene.tracker().add_object(0, scene.video[0], points=clicks, point_labels=[1, 0])
    tracker = scene.tracker()
    tracker.add_object(0, scene.video[0], points=clicks[:1])
    added = tracker.add_object(
        0,
        scene.video[0],
        obj_id=0,
        points=clicks[1:],
        point_labels=[0],
        clear_old_points=False,
        refine=False,
    )
    assert torch.equal(added.low_res_mask, at_once.low_res_mask)
    alone = tracker.add_object(0, scene.video[0], obj_id=0, points=clicks[1:], refine=False)
    fresh = scene.tracker().add_object(0, scene.video[0], points=clicks[1:])
    assert torch.equal(alone.low_res_mask, fresh.low_res_mask)
    assert not torch.equal(alone.low_res_mask, added.low_res_mask)


def test_corrected_objects_keep_who_they_are(scene: Scene) -> None:
    tracker = scene.tracker()
    for index in range(3):
        tracker.step(index, scene.video[index], found(LEFT, RIGHT, prompts=[4, 4]))
    refined = tracker.add_object(2, scene.video[2], obj_id=1, prompt_id=9, mask=disc(*LOW) > 0)
    assert refined.obj_id == 1
    assert refined.masklet.prompt_id == 4
    assert refined.masklet.first_frame == 0
    assert refined.masklet.origin is Origin.USER
    assert refined.masklet.confirmed
    frame = tracker.step(2, scene.video[2], found(LEFT, LOW, prompts=[4, 4]))
    assert frame.obj_ids == [0, 1]
    assert torch.equal(frame.low_res_masks[1], refined.low_res_mask)


def test_correcting_starts_from_the_mask_that_is_there(scene: Scene) -> None:
    def click(refine: bool) -> Tensor:
        tracker = scene.tracker()
        tracker.add_object(0, scene.video[0], mask=disc(*LEFT) > 0)
        tracker.step(0, scene.video[0], found())
        at = {"obj_id": 0, "points": [[0.3, 0.3]], "refine": refine}
        return tracker.add_object(1, scene.video[1], **at).low_res_mask

    assert not torch.equal(click(True), click(False))


def test_a_drawn_object_of_a_concept_takes_up_its_detections(scene: Scene) -> None:
    tracker = scene.tracker()
    tracker.add_object(0, scene.video[0], prompt_id=0, mask=disc(*LEFT) > 0)
    frame = tracker.step(0, scene.video[0], found(LEFT, RIGHT))
    assert frame.obj_ids == [0, 1]
    assert frame.frame_stats.num_new == 1
    apart = scene.tracker()
    apart.add_object(0, scene.video[0], mask=disc(*LEFT) > 0)
    assert apart.step(0, scene.video[0], found(LEFT)).prompt_ids == [NO_CONCEPT, 0]


def test_identities_can_be_chosen(scene: Scene) -> None:
    tracker = scene.tracker()
    assert tracker.add_object(0, scene.video[0], obj_id=41, points=[[0.5, 0.5]]).obj_id == 41
    assert tracker.add_object(0, scene.video[0], points=[[0.5, 0.5]]).obj_id == 42
    assert tracker.add_object(0, scene.video[0], obj_id=7, points=[[0.5, 0.5]]).obj_id == 7
    assert tracker.add_object(0, scene.video[0], points=[[0.5, 0.5]]).obj_id == 43


# --- removed --------------------------------------------------------------------------------------


def test_objects_and_concepts_are_removed(scene: Scene) -> None:
    tracker = scene.tracker()
    tracker.step(0, scene.video[0], found(LEFT, RIGHT, LOW, prompts=[1, 2, 1]))
    assert tracker.remove_object(1)
    assert not tracker.remove_object(1)
    assert not tracker.remove_object(99)
    assert [m.obj_id for m in tracker.masklets] == [0, 2]
    assert tracker.remove_prompt(2) == []
    assert tracker.remove_prompt(1) == [0, 2]
    assert len(tracker.step(1, scene.video[1], found())) == 0


def test_reset_forgets_everything(scene: Scene) -> None:
    tracker, seen = scene.tracker(), found(LEFT, RIGHT)
    before = [tracker.step(index, scene.video[index], seen) for index in range(3)]
    tracker.add_object(2, scene.video[2], points=[[0.5, 0.5]])
    tracker.reset()
    assert same(tracker.state_dict(), scene.tracker().state_dict())
    again = [tracker.step(index, scene.video[index], seen) for index in range(3)]
    assert all(same_frames(a, b) for a, b in zip(before, again, strict=True))


ACTIONS: dict[str, Callable[[VideoTracker, TrackerFeatures], Any]] = {
    "click": lambda t, f: t.add_object(2, f, points=[[0.5, 0.5]]),
    "box": lambda t, f: t.add_object(2, f, box=[0.4, 0.4, 0.9, 0.9]),
    "mask of the same concept": lambda t, f: t.add_object(2, f, prompt_id=0, mask=disc(*LEFT) > 0),
    "correction": lambda t, f: t.add_object(2, f, obj_id=2, points=[[0.5, 0.8]]),
    "start": lambda t, f: t.start_objects(2, f, found((0.8, 0.8, 0.1), prompts=[6])),
    "removal": lambda t, f: t.remove_object(2),
    "removal that keeps away": lambda t, f: t.remove_object(2, keep_away=True),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_done_to_one_object_touches_no_other(scene: Scene, action: str) -> None:
    tracker = scene.tracker()
    for index in range(3):
        tracker.step(index, scene.video[index], found(LEFT, RIGHT, LOW))
    before = [memory_of(tracker, row, 3) for row in (0, 1)]
    records = tracker.masklets[:2]
    state = tracker.state_dict()
    ACTIONS[action](tracker, scene.video[2])
    assert not same(tracker.state_dict(), state), "the action did nothing"
    assert same([memory_of(tracker, row, 3) for row in (0, 1)], before)
    assert tracker.masklets[:2] == records


def test_what_a_user_has_removed_is_not_found_again(scene: Scene) -> None:
    tracker, seen = scene.tracker(), found(LEFT, RIGHT)
    tracker.step(0, scene.video[0], seen)
    assert tracker.remove_object(1, keep_away=True)
    assert tracker.is_kept_away(1)
    assert not tracker.is_kept_away(0)
    assert not tracker.remove_object(1, keep_away=True)
    assert [m.obj_id for m in tracker.masklets] == [0]
    for index in range(1, 6):
        frame = tracker.step(index, scene.video[index], seen)
        assert (frame.obj_ids, frame.newly_removed) == ([0], [])
        assert frame.newly_confirmed == ([0] if index == 3 else [])
        assert len(frame.low_res_masks) == len(frame.tracker_scores) == len(frame.states) == 1
        assert (frame.frame_stats.num_masklets, frame.frame_stats.num_kept_away) == (1, 1)
    assert tracker.start_objects(6, scene.video[6], found(RIGHT)) == []
    assert tracker.prompted(0).obj_ids == []
    # To draw on it brings it back, as the object that it was.
    tracker.add_object(6, scene.video[6], obj_id=1, mask=disc(*RIGHT) > 0)
    assert tracker.step(6, scene.video[6], seen).obj_ids == [0, 1]
    assert tracker.remove_object(1)
    assert tracker.step(7, scene.video[7], seen).obj_ids == [0, 2]


def test_it_is_not_found_again_where_the_tracker_has_lost_it(scene: Scene) -> None:
    tracker = scene.tracker()
    tracker.step(0, scene.video[0], found(LEFT, RIGHT))
    tracker.remove_object(1, keep_away=True)
    beside = (RIGHT[0] - 0.02, RIGHT[1] + 0.38, RIGHT[2])  # the tracker's mask is elsewhere
    near = (RIGHT[0], RIGHT[1] + 0.02, RIGHT[2])
    row = tracker._store.row_of(1)
    assert row is not None
    lost = tracker._store.masklets[row]
    moved = Sighting.of(0, (beside[0] - 0.17, beside[1] - 0.17, beside[0] + 0.17, beside[1] + 0.17))
    tracker._store.put(row, replace(lost, last_seen=moved))
    frame = tracker.step(1, scene.video[1], found(LEFT, beside))
    assert frame.obj_ids == [0]
    assert frame.frame_stats.num_resumed == 1
    assert tracker.step(2, scene.video[2], found(LEFT, near, prompts=[0, 5])).prompt_ids == [0, 5]


def test_what_is_kept_away_is_forgotten_when_it_is_out_of_view(scene: Scene) -> None:
    tracker = scene.tracker()
    tracker.step(0, scene.video[0], found(LEFT, RIGHT))
    tracker.remove_object(1, keep_away=True)
    for index in range(1, KEPT_AWAY_FRAMES + 2):
        assert tracker.is_kept_away(1)
        frame = tracker.step(index, scene.video[1], found(LEFT))
        assert frame.newly_removed == []
    assert not tracker.is_kept_away(1)
    assert len(tracker._store.memories) == 1
    frame = tracker.step(index + 1, scene.video[1], found(LEFT, RIGHT))
    assert frame.obj_ids == [0, 2]


def test_what_is_kept_away_takes_no_place_and_is_bounded(scene: Scene) -> None:
    tracker = scene.tracker(replace(CONFIG, max_num_objects=1))
    for number in range(MAX_KEPT_AWAY + 2):
        (obj_id,) = tracker.start_objects(0, scene.video[0], found(LEFT, prompts=[number]))
        with pytest.raises(SessionLimitError, match="1 objects already"):
            tracker.add_object(0, scene.video[0], points=[[0.5, 0.5]])
        assert tracker.remove_object(obj_id, keep_away=True)
    away = [m.obj_id for m in tracker._store.masklets]
    assert away == list(range(2, MAX_KEPT_AWAY + 2))
    assert tracker.remove_prompt(5) == []
    assert not tracker.is_kept_away(5)


def test_an_object_without_a_concept_is_not_kept_away(scene: Scene) -> None:
    tracker = scene.tracker()
    obj_id = tracker.add_object(0, scene.video[0], points=[[0.5, 0.5]]).obj_id
    assert tracker.remove_object(obj_id, keep_away=True)
    assert not tracker.is_kept_away(obj_id)


# --- saved ----------------------------------------------------------------------------------------


def played(scene: Scene) -> VideoTracker:
    """Some frames, a withdrawn object, a removed one, a drawn one, a corrected one, and pins."""
    tracker = scene.tracker()
    for index in range(4):
        seen = found(LEFT, RIGHT, LOW) if index == 0 else found(LEFT, RIGHT)
        tracker.step(index, scene.video[index], seen)
    tracker.add_object(4, scene.video[4], points=[[0.5, 0.8]], box=[0.3, 0.6, 0.7, 1.0])
    tracker.add_object(4, scene.video[4], obj_id=1, mask=disc(*RIGHT) > 0)
    tracker.remove_object(0, keep_away=True)
    return tracker


def test_a_saved_session_goes_on_exactly(scene: Scene) -> None:
    tracker = played(scene)
    file = io.BytesIO()
    torch.save(tracker.state_dict(), file)
    file.seek(0)
    resumed = scene.tracker()
    resumed.step(0, scene.video[0], found(LOW))  # what it held before goes
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.masklets == tracker.masklets
    assert same(resumed.state_dict(), tracker.state_dict())
    for index in range(4, 9):
        seen = found(LEFT, RIGHT, LOW, prompts=[0, 0, 3])
        a = tracker.step(index, scene.video[index], seen)
        b = resumed.step(index, scene.video[index], seen)
        assert same_frames(a, b)
        assert len(a) >= 3
    assert same(resumed.state_dict(), tracker.state_dict())


def test_a_saved_state_is_a_copy(scene: Scene) -> None:
    tracker = played(scene)
    file = io.BytesIO()
    state = tracker.state_dict()
    torch.save(state, file)
    tracker.step(4, scene.video[4], found(LEFT))
    file.seek(0)
    assert same(state, torch.load(file, weights_only=True))


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(key)


def fewer_masklets(state: dict[str, Any]) -> None:
    state["masklets"] = state["masklets"][:-1]


def wrong_pin(state: dict[str, Any]) -> None:
    state["pins"][0]["low_res_mask"] = torch.zeros(3, 3)


@pytest.mark.parametrize(
    "damage",
    [
        without("bank"),
        without("pins"),
        without("next_obj_id"),
        lambda state: state.update(version=99),
        lambda state: state.update(more=1),
        lambda state: state["pins"][0].pop("box"),
        lambda state: state["masklets"][0].pop("obj_id"),
        fewer_masklets,
        wrong_pin,
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(
    scene: Scene, damage: Callable[[dict[str, Any]], None]
) -> None:
    damaged = played(scene).state_dict()
    damage(damaged)
    tracker = scene.tracker()
    tracker.step(0, scene.video[0], found(LEFT))
    before = tracker.state_dict()
    with pytest.raises(CheckpointError):
        tracker.load_state_dict(damaged)
    assert same(tracker.state_dict(), before)


# --- refused and failed ---------------------------------------------------------------------------


def narrow(features: TrackerFeatures) -> TrackerFeatures:
    fine, middle, coarse = (level[..., :-1] for level in features.levels)
    return TrackerFeatures(levels=(fine, middle, coarse))


REFUSED: list[tuple[type[Exception], Callable[[VideoTracker, TrackerFeatures], Any]]] = [
    (PromptError, lambda t, f: t.add_object(2, f)),
    (PromptError, lambda t, f: t.add_object(2, f, points=[[2.0, 0.5]])),
    (PromptError, lambda t, f: t.add_object(2, f, mask=np.zeros((4, 4)))),
    (PromptError, lambda t, f: t.add_object(2, f, obj_id=-1, points=[[0.5, 0.5]])),
    (InputError, lambda t, f: t.add_object(2, narrow(f), points=[[0.5, 0.5]])),
    (InputError, lambda t, f: t.step(2, narrow(f), found(LEFT))),
    (InputError, lambda t, f: t.start_objects(2, narrow(f), found(LEFT))),
]


@pytest.mark.parametrize(("error", "request_"), REFUSED)
def test_what_cannot_be_used_changes_nothing(
    scene: Scene,
    error: type[Exception],
    request_: Callable[[VideoTracker, TrackerFeatures], Any],
) -> None:
    tracker = scene.tracker()
    for index in range(2):
        tracker.step(index, scene.video[index], found(LEFT, RIGHT))
    before = tracker.state_dict()
    with pytest.raises(error):
        request_(tracker, scene.video[2])
    assert same(tracker.state_dict(), before)


class NoRoomError(RuntimeError):
    """What the device says when it has no room."""


def fail_at(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> Callable[[], bool]:
    """Let a method fail on its nth call; tells whether it came to that."""
    real, calls = getattr(owner, name), [0]

    def failing(*arguments: Any, **others: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise NoRoomError(name)
        return real(*arguments, **others)

    monkeypatch.setattr(owner, name, failing)
    return lambda: calls[0] >= call


FAILING = [
    ("embed", 1),
    ("propagate", 1),
    ("encode_memory", 1),
    ("from_masks", 1),
    ("encode_memory", 2),
    ("encode_memory", 3),
]


@pytest.mark.parametrize(("name", "call"), FAILING)
def test_a_step_that_fails_leaves_the_session_as_it_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    """A frame on which an object is withdrawn, one reconditioned, and one new."""
    config = VideoConfig(
        hotstart_delay=4,
        hotstart_unmatch_thresh=2,
        hotstart_dup_thresh=2,
        trk_assoc_iou_thresh=0.15,
        recondition_every_nth_frame=2,
        high_conf_thresh=0.5,
        high_iou_thresh=0.15,
        reencode_memory_on_new_objects=True,
    )
    trackers = [scene.tracker(config), scene.tracker(config)]
    for tracker in trackers:
        tracker.step(0, scene.video[0], found(LEFT, RIGHT))
        tracker.step(1, scene.video[1], found(LEFT))
        tracker.add_object(2, scene.video[2], mask=disc(0.9, 0.9, 0.08) > 0)
        tracker.add_object(1, scene.video[1], mask=disc(0.1, 0.9, 0.08) > 0)
    before = trackers[0].state_dict()
    with monkeypatch.context() as patch:
        failed = fail_at(patch, scene.model, name, call)
        with pytest.raises(NoRoomError):
            trackers[0].step(2, scene.video[2], found(LEFT, LOW))
        assert failed()
    assert same(trackers[0].state_dict(), before)
    # And it goes on as if nothing had happened.
    a, b = (tracker.step(2, scene.video[2], found(LEFT, LOW)) for tracker in trackers)
    assert same_frames(a, b)
    assert a.newly_removed == [1]
    assert a.frame_stats.num_new == a.frame_stats.num_reconditioned == 1
    assert same(trackers[0].state_dict(), trackers[1].state_dict())


def test_no_room_for_another_masklet_leaves_the_session_as_it_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = scene.tracker()
    for index in range(2):
        tracker.step(index, scene.video[index], found(LEFT, RIGHT))
    before = tracker.state_dict()
    with monkeypatch.context() as patch:
        fail_at(patch, tracker._store.memories.bank, "append_rows", 1)
        with pytest.raises(NoRoomError):
            tracker.step(2, scene.video[2], found(LEFT, RIGHT, LOW))
        assert same(tracker.state_dict(), before)
    assert tracker.step(2, scene.video[2], found(LEFT, RIGHT, LOW)).obj_ids == [0, 1, 2]


@pytest.mark.parametrize("name", ["embed", "prompt", "propagate", "encode_memory"])
def test_a_correction_that_fails_leaves_the_session_as_it_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tracker = scene.tracker()
    for index in range(2):
        tracker.step(index, scene.video[index], found(LEFT, RIGHT))
    before = tracker.state_dict()
    fail_at(monkeypatch, scene.model, name, 1)
    with pytest.raises(NoRoomError):
        tracker.add_object(2, scene.video[2], obj_id=0, points=[[0.3, 0.3]])
    assert same(tracker.state_dict(), before)


# --- for a long time ------------------------------------------------------------------------------


QUARTER = 200
"""Frames; nothing of a frame is remembered for so long."""


def busy_model() -> TrackerModel:
    """As small as it gets, random, and always sure that its objects are there."""
    config = tracker_config(
        cells=2,
        hidden=32,
        wide=16,
        memory_attention_num_layers=1,
        memory_encoder_output_channels=16,
    )
    model = TrackerModel(config).eval()
    randomise(model, 0)
    score = model.mask_decoder.pred_obj_score_head.proj_out
    with torch.no_grad():
        score.weight.zero_()
        score.bias.fill_(3.0)
    return model


def stored_values(state: Any) -> int:
    """Numbers, texts and elements of tensors."""
    if isinstance(state, Tensor):
        return state.numel()
    if isinstance(state, dict):
        return sum(stored_values(value) for value in state.values())
    if isinstance(state, list | tuple):
        return sum(stored_values(value) for value in state)
    return 1


def live_tensors() -> int:
    gc.collect()
    return sum(type(thing) is Tensor for thing in gc.get_objects())


@pytest.mark.timeout(600)
def test_a_long_time_of_coming_and_going_leaves_nothing_behind() -> None:
    """Four times as long as any memory is kept, with everybody gone after each quarter: what is
    left then is the same to the last number and tensor, however many there have been.
    """
    model = busy_model()
    video = random_video(model.config, 8, 1)
    config = VideoConfig(
        max_num_objects=4, hotstart_delay=5, hotstart_unmatch_thresh=2, hotstart_dup_thresh=2
    )
    tracker = VideoTracker(model, config)
    rng = np.random.default_rng(0)
    sizes, most, num_new, num_removed = [], 0, 0, 0
    for index in range(4 * QUARTER):
        masks = torch.from_numpy(rng.normal(-1, 2, (2, *model.mask_size)).astype(np.float32))
        seen = Detections(torch.tensor([0, 1]), torch.tensor([0.9, 0.8]), torch.zeros(2, 4), masks)
        if index % 40 == 0 and len(tracker.masklets) < 4:
            tracker.add_object(index, video[index % 8], points=[[0.4, 0.6]])
        frame = tracker.step(index, video[index % 8], seen if rng.random() < 0.4 else found_none())
        num_new += frame.frame_stats.num_new
        num_removed += frame.frame_stats.num_removed
        if index % 25 == 24 and tracker.masklets:
            tracker.remove_object(tracker.masklets[0].obj_id)
        most = max(most, stored_values(tracker.state_dict()))
        if index % QUARTER == QUARTER - 1:
            assert tracker._store.memories.bank.capacity <= 8
            for masklet in tracker.masklets:
                tracker.remove_object(masklet.obj_id)
            del frame, seen, masks
            sizes.append((stored_values(tracker.state_dict()), live_tensors()))
            if index == QUARTER - 1:
                early = most
    assert num_new > 0.15 * index
    assert num_removed > 0.025 * index
    assert len(set(sizes)) == 1, sizes
    assert most <= 1.1 * early


def found_none() -> Detections:
    return Detections.empty((8, 8))
