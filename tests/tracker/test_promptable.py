"""A session on a network that remembers masks exactly: the rules alone decide what is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from maskstream.core.errors import PromptError
from maskstream.tracker.lifecycle import MaskletState, Origin
from maskstream.tracker.video_config import VideoConfig
from maskstream.tracker.video_tracker import NO_CONCEPT, VideoTracker
from tests.tracker.network.exact_memory import (
    IMAGE,
    LEFT,
    LOW,
    NOTHING,
    PRESENT,
    RIGHT,
    SIZE,
    ExactMemory,
    assert_same_frame,
    disc,
    equal_states,
    features,
    found,
    mask_of,
    play,
    same,
)

CONFIG = VideoConfig(low_res_mask_size=SIZE, fill_hole_area=4)
NOT_CLEANED = replace(CONFIG, fill_hole_area=0)


@pytest.fixture
def network() -> ExactMemory:
    return ExactMemory()


@pytest.fixture
def tracker(network: ExactMemory) -> VideoTracker:
    return VideoTracker(network, CONFIG)


# Making


def test_clicks_make_an_object_that_is_followed(
    tracker: VideoTracker, network: ExactMemory
) -> None:
    made = tracker.add_object(0, features(), points=[[0.75, 0.3]])
    assert made.obj_id == 0
    assert made.masklet.origin is Origin.USER
    assert made.masklet.prompt_id == NO_CONCEPT
    assert made.low_res_mask.shape == (SIZE, SIZE)
    assert made.tracker_score == pytest.approx(torch.tensor(PRESENT).sigmoid().item())
    asked = network.calls.prompts[0]
    torch.testing.assert_close(asked["points"], torch.tensor([[[0.75, 0.3]]]) * IMAGE)
    assert asked["point_labels"].tolist() == [[1]]
    assert asked["memory"] is None
    assert asked["mask_logits"] is None
    for frame in play(tracker, range(3)):
        assert frame.obj_ids == [0]
        assert same(frame.low_res_masks[0], made.low_res_mask)


def test_a_box_makes_an_object(tracker: VideoTracker, network: ExactMemory) -> None:
    made = tracker.add_object(0, features(), box=[0.25, 0.5, 0.5, 1.0])
    torch.testing.assert_close(
        network.calls.prompts[0]["boxes"], torch.tensor([[0.25, 0.5, 0.5, 1.0]]) * IMAGE
    )
    inside = torch.zeros(SIZE, SIZE)
    inside[16:, 8:16] = 1
    assert same(made.low_res_mask, inside)


def test_a_mask_makes_an_object_as_it_is(tracker: VideoTracker, network: ExactMemory) -> None:
    large = torch.nn.functional.interpolate(LEFT[None, None], scale_factor=4)[0, 0] > 0
    made = tracker.add_object(0, features(), mask=large.numpy())
    assert same(made.low_res_mask, LEFT)
    assert network.calls.prompts == []
    encoded, binarize = network.calls.encoded[-1]
    assert encoded.shape == (1, IMAGE, IMAGE)
    assert binarize


def test_identities_that_are_chosen_are_not_given_again(tracker: VideoTracker) -> None:
    assert tracker.add_object(0, features(), obj_id=np.int64(7), mask=LEFT > 0).obj_id == 7
    assert tracker.add_object(0, features(), mask=RIGHT > 0).obj_id == 8
    frame = tracker.step(0, features(), found((0, 0.9, LOW)))
    assert frame.obj_ids == [7, 8, 9]
    assert tracker.remove_object(9)
    assert tracker.add_object(1, features(), mask=LOW > 0).obj_id == 10


def test_an_object_of_a_concept_takes_up_its_detections(tracker: VideoTracker) -> None:
    tracker.add_object(0, features(), prompt_id=3, mask=LEFT > 0)
    tracker.add_object(0, features(), prompt_id=NO_CONCEPT, mask=RIGHT > 0)
    seen = found((3, 0.9, LEFT), (3, 0.8, RIGHT))
    frame = tracker.step(0, features(), seen)
    assert frame.prompt_ids == [3, NO_CONCEPT, 3]
    assert frame.detection_scores[0].item() == pytest.approx(0.9)
    assert torch.isnan(frame.detection_scores[1])


# Cleaning


def with_hole_and_speck(mask: Tensor) -> Tensor:
    """A hole of one cell in the middle of LEFT, and a speck of one cell in a corner."""
    spoilt = mask.clone()
    spoilt[10, 8] = -6.0
    spoilt[31, 31] = 6.0
    return spoilt


def test_masks_of_detections_and_of_tracking_are_cleaned(network: ExactMemory) -> None:
    spoilt = with_hole_and_speck(LEFT)
    tracker, plain = VideoTracker(network, CONFIG), VideoTracker(network, NOT_CLEANED)
    cleaned, kept = (t.step(0, features(), found((0, 0.9, spoilt))) for t in (tracker, plain))
    assert same(cleaned.low_res_masks[0], LEFT)
    assert same(kept.low_res_masks[0], spoilt)
    drawn, raw = (t.add_object(0, features(), obj_id=5, mask=spoilt > 0) for t in (tracker, plain))
    assert same(drawn.low_res_mask, LEFT)
    assert same(raw.low_res_mask, spoilt)
    cleaned, kept = (t.step(1, features(), NOTHING) for t in (tracker, plain))
    assert same(mask_of(cleaned, 5), LEFT)
    assert mask_of(kept, 5)[31, 31] > 0


def test_masks_of_clicks_are_cleaned(network: ExactMemory) -> None:
    tracker, plain = VideoTracker(network, CONFIG), VideoTracker(network, NOT_CLEANED)
    for each in (tracker, plain):
        play(each, range(1), found((0, 0.9, LEFT)))
    spoilt = with_hole_and_speck(LEFT)
    answer = network.from_masks(network.embed(features()), (spoilt > 0).float()[None])
    network.prompt = lambda *_, **__: answer  # type: ignore[method-assign]
    made, kept = (
        t.add_object(1, features(), obj_id=0, points=[[0.25, 0.3]]) for t in (tracker, plain)
    )
    assert same(made.low_res_mask, LEFT)
    assert same(kept.low_res_mask, spoilt)


# Correcting


def test_corrections_start_from_mask_and_memory(
    tracker: VideoTracker, network: ExactMemory
) -> None:
    play(tracker, range(3), found((0, 0.9, LEFT)))
    corrected = tracker.add_object(
        3, features(), obj_id=0, points=[[0.75, 0.3], [0.2, 0.3]], point_labels=[1, 0]
    )
    asked = network.calls.prompts[-1]
    assert same(asked["mask_logits"][0], LEFT)
    assert len(asked["memory"]) == 1
    assert corrected.masklet.prompt_id == 0
    assert corrected.masklet.first_frame == 0
    assert corrected.masklet.confirmed
    assert corrected.masklet.origin is Origin.USER
    frame = tracker.step(3, features(), NOTHING)
    assert same(frame.low_res_masks[0], corrected.low_res_mask)
    assert frame.states == [MaskletState.CONFIRMED]
    assert same(tracker.step(4, features(), NOTHING).low_res_masks[0], corrected.low_res_mask)


def test_corrections_may_start_from_nothing(tracker: VideoTracker, network: ExactMemory) -> None:
    play(tracker, range(2), found((0, 0.9, LEFT)))
    tracker.add_object(2, features(), obj_id=0, points=[[0.75, 0.3]], refine=False)
    assert network.calls.prompts[-1]["mask_logits"] is None
    assert not (mask_of(tracker.step(2, features(), NOTHING), 0)[LEFT > 0] > 0).any()


def test_clicks_on_one_frame_add_up_when_asked(tracker: VideoTracker, network: ExactMemory) -> None:
    tracker.add_object(0, features(), points=[[0.25, 0.3]], box=[0.1, 0.1, 0.5, 0.5])
    tracker.add_object(
        0, features(), obj_id=0, points=[[0.75, 0.3]], point_labels=[0], clear_old_points=False
    )
    asked = network.calls.prompts[-1]
    assert asked["point_labels"].tolist() == [[1, 0]]
    assert asked["boxes"] is not None
    assert asked["memory"] is None  # its first frame still
    tracker.add_object(0, features(), obj_id=0, points=[[0.5, 0.5]])
    assert network.calls.prompts[-1]["point_labels"].tolist() == [[1]]
    assert network.calls.prompts[-1]["boxes"] is None


def test_a_correction_ends_hot_start(tracker: VideoTracker) -> None:
    play(tracker, range(5), found((0, 0.9, LEFT), (1, 0.9, RIGHT)))
    tracker.add_object(5, features(), obj_id=0, mask=LEFT > 0)
    frames = play(tracker, range(5, 20))
    assert frames[-1].obj_ids == [0]
    assert [f.newly_removed for f in frames if f.newly_removed] == [[1]]


def test_bad_ids_are_refused(tracker: VideoTracker) -> None:
    for obj_id in (-1, True, 1.5, "1"):
        with pytest.raises(PromptError, match="obj_id"):
            tracker.add_object(0, features(), obj_id=obj_id, mask=LEFT > 0)  # type: ignore[arg-type]


# Not disturbing


def test_others_go_on_as_if_nothing_had_been_added(network: ExactMemory) -> None:
    seen = found((0, 0.9, LEFT), (0, 0.8, RIGHT))
    alone, disturbed = VideoTracker(network, CONFIG), VideoTracker(network, CONFIG)
    for index in range(20):
        if index == 4:
            disturbed.add_object(4, features(), points=[[0.25, 0.3]])  # right upon object 0
        if index == 6:
            disturbed.start_objects(6, features(), found((1, 0.9, LEFT), (1, 0.9, LOW)))
        if index == 9:
            disturbed.add_object(9, features(), obj_id=2, points=[[0.7, 0.3]])
        if index == 12:
            assert disturbed.remove_object(2)
            assert disturbed.remove_prompt(1) == [3, 4]
        quiet = alone.step(index, features(), seen)
        noisy = disturbed.step(index, features(), seen)
        rows = [noisy.obj_ids.index(obj_id) for obj_id in quiet.obj_ids]
        assert_same_frame(noisy.select(rows), quiet)
    quiet_maps, noisy_maps = (t.state_dict()["bank"]["maps"].sign() for t in (alone, disturbed))
    assert torch.equal(quiet_maps, noisy_maps)
    assert equal_states(alone.state_dict()["masklets"], disturbed.state_dict()["masklets"])


def test_removing(tracker: VideoTracker) -> None:
    play(tracker, range(3), found((0, 0.9, LEFT), (1, 0.9, RIGHT), (0, 0.9, LOW)))
    assert tracker.remove_object(1)
    assert not tracker.remove_object(1)
    frame = tracker.step(3, features(), NOTHING)
    assert frame.obj_ids == [0, 2]
    assert same(frame.low_res_masks, torch.stack([LEFT, LOW]))
    assert tracker.remove_prompt(0) == [0, 2]
    assert tracker.remove_prompt(0) == []
    assert len(tracker.step(4, features(), NOTHING)) == 0


# Prompted frames


def test_what_was_found_beforehand_is_what_a_step_finds(network: ExactMemory) -> None:
    seen = found((0, 0.9, LEFT), (0, 0.6, RIGHT))
    plain, asked = VideoTracker(network, CONFIG), VideoTracker(network, CONFIG)
    assert asked.start_objects(0, features(), seen) == [0, 1]
    shown = asked.prompted(0)
    assert shown.obj_ids == [0, 1]
    assert same(shown.low_res_masks, torch.stack([LEFT, RIGHT]))
    assert shown.detection_scores.tolist() == pytest.approx([0.9, 0.6])
    for index in range(12):
        ours = asked.step(index, features(), seen if index < 3 else NOTHING)
        other = plain.step(index, features(), seen if index < 3 else NOTHING)
        assert_same_frame(ours, other)


def test_looking_twice_starts_nothing_twice(tracker: VideoTracker) -> None:
    seen = found((0, 0.9, LEFT))
    assert tracker.start_objects(0, features(), seen) == [0]
    assert tracker.start_objects(0, features(), seen) == []
    play(tracker, range(3), seen)
    assert tracker.start_objects(3, features(), found((0, 0.9, LEFT), (0, 0.9, LOW))) == [1]


def test_looking_keeps_to_the_limit(network: ExactMemory) -> None:
    tracker = VideoTracker(network, replace(CONFIG, max_num_objects=2))
    tracker.add_object(0, features(), mask=LOW > 0)
    assert tracker.start_objects(0, features(), found((0, 0.8, LEFT), (0, 0.9, RIGHT))) == [1]
    assert same(tracker.prompted(0).low_res_masks, torch.stack([LOW, RIGHT]))


def test_prompted_shows_only_that_frame(tracker: VideoTracker) -> None:
    tracker.add_object(3, features(), mask=LEFT > 0)
    tracker.add_object(5, features(), mask=RIGHT > 0)
    assert tracker.prompted(3).obj_ids == [0]
    assert tracker.prompted(5).obj_ids == [1]
    empty = tracker.prompted(4)
    assert len(empty) == 0
    assert empty.low_res_masks.shape == (0, SIZE, SIZE)


def test_playing_over_a_prompted_frame_again_shows_what_was_drawn(tracker: VideoTracker) -> None:
    tracker.add_object(0, features(), mask=LEFT > 0)
    tracker.add_object(4, features(), obj_id=0, mask=RIGHT > 0)
    for _ in range(2):
        frames = play(tracker, range(7))
        assert same(frames[4].low_res_masks[0], RIGHT)
        assert same(frames[5].low_res_masks[0], RIGHT)
    assert same(frames[0].low_res_masks[0], LEFT)


def test_pins_are_bounded(tracker: VideoTracker) -> None:
    for index in range(20):
        tracker.add_object(index, features(), obj_id=0, mask=LEFT > 0)
    assert len(tracker.state_dict()["pins"]) == 8
    assert tracker.prompted(19).obj_ids == [0]
    assert len(tracker.prompted(0)) == 0


def test_a_drawn_frame_counts_neither_for_nor_against(tracker: VideoTracker) -> None:
    tracker.start_objects(0, features(), found((0, 0.9, LEFT)))
    tracker.step(0, features(), NOTHING)
    assert tracker.masklets[0].num_unmatched == 0
    tracker.step(1, features(), NOTHING)
    assert tracker.masklets[0].num_unmatched == 1


# Hidden, giving way, reconditioned


def test_keep_alive_hides_what_goes_unseen_but_not_what_a_user_made(network: ExactMemory) -> None:
    config = VideoConfig(
        low_res_mask_size=SIZE,
        suppress_unmatched_only_within_hotstart=False,
        init_trk_keep_alive=3,
        hotstart_delay=1,
        hotstart_unmatch_thresh=1,
        hotstart_dup_thresh=1,
    )
    tracker = VideoTracker(network, config)
    tracker.add_object(0, features(), mask=RIGHT > 0)
    frames = play(tracker, range(1), found((0, 0.9, LEFT))) + play(tracker, range(1, 8))
    hidden = [MaskletState.SUPPRESSED in frame.states for frame in frames]
    assert hidden == [False] * 3 + [True] * 5
    assert frames[-1].states == [MaskletState.CONFIRMED, MaskletState.SUPPRESSED]
    assert not (mask_of(frames[-1], 1) > 0).any()
    assert frames[-1].frame_stats.num_suppressed == 1
    seen_again = play(tracker, range(8, 11), found((0, 0.9, LEFT)))[-1]
    assert MaskletState.SUPPRESSED not in seen_again.states
    assert same(mask_of(seen_again, 1), LEFT)


def test_the_more_recently_occluded_of_two_gives_way(
    tracker: VideoTracker, network: ExactMemory
) -> None:
    for obj_id in (0, 1):
        tracker.add_object(0, features(), obj_id=obj_id, prompt_id=0, mask=LEFT > 0)
    for index, obj_id in ((1, 0), (2, 1)):
        network.absent = {0}  # of those that are not pinned on the frame
        tracker.step(index, features(), NOTHING)
        # What was absent has remembered nothing.
        tracker.add_object(index + 1, features(), obj_id=obj_id, mask=LEFT > 0)
    network.absent = set()
    tracker.add_object(3, features(), obj_id=0, mask=LEFT > 0)  # what is drawn takes no pixels
    drawn, after = play(tracker, range(3, 5))
    assert drawn.states == [MaskletState.CONFIRMED] * 2
    assert after.states == [MaskletState.CONFIRMED, MaskletState.SUPPRESSED]
    assert same(mask_of(after, 0), LEFT)
    assert not (mask_of(after, 1) > 0).any()
    assert [masklet.last_occluded for masklet in tracker.masklets] == [1, 4]


def test_masklets_of_different_or_no_concepts_do_not_compete(tracker: VideoTracker) -> None:
    for obj_id, prompt_id in enumerate((0, 1, NO_CONCEPT, NO_CONCEPT)):
        tracker.add_object(0, features(), obj_id=obj_id, prompt_id=prompt_id, mask=LEFT > 0)
    for frame in play(tracker, range(4)):
        assert same(frame.low_res_masks, LEFT.expand(4, -1, -1))


@pytest.mark.parametrize("on_masklet", [True, False])
def test_reconditioning_shows_the_detection_and_keeps_the_frame(
    network: ExactMemory, on_masklet: bool
) -> None:
    config = replace(CONFIG, recondition_every_nth_frame=4, recondition_on_trk_masks=on_masklet)
    tracker = VideoTracker(network, config)
    play(tracker, range(4), found((0, 0.9, LEFT)))
    wider = disc(0.25, 0.3, 0.16)
    frame = tracker.step(4, features(), found((0, 0.95, wider)))
    assert frame.frame_stats.num_reconditioned == 1
    assert torch.equal(frame.low_res_masks[0], wider)
    assert {0, 4} <= set(tracker.state_dict()["bank"]["cond_frames"][0].tolist())
    after = tracker.step(5, features(), NOTHING)
    assert same(after.low_res_masks[0], LEFT if on_masklet else wider)
    off_beat = tracker.step(6, features(), found((0, 0.95, wider)))
    assert off_beat.frame_stats.num_reconditioned == 0


# Moving


def test_memories_begin_where_the_model_was_moved_to(
    tracker: VideoTracker, network: ExactMemory
) -> None:
    here = network.no_memory_embedding
    there = torch.nn.Parameter(torch.empty_like(here, device="meta"))
    tracker.add_object(0, features(), points=[[0.75, 0.3]])
    network.no_memory_embedding = there
    tracker._follow_model()
    assert tracker._store.device == here.device  # what is remembered stays
    tracker.remove_object(0)
    tracker._follow_model()
    assert tracker._store.device.type == "meta"
    network.no_memory_embedding = here
    assert tracker.add_object(1, features(), points=[[0.75, 0.3]]).obj_id == 1
