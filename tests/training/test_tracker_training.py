from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from maskstream.core.types import TrackerFeatures
from maskstream.detector.model import Detector
from maskstream.tracker.network.memory_bank import MemoryBank
from maskstream.tracker.network.model import TrackerModel
from tests.training.small import SIDE, small_detector_config, small_tracker_config
from training.clicks import deepest_cells
from training.clips import ClipPlan, make_tracked_clip
from training.evaluate_tracker import click_through, evaluate_prompts, evaluate_tracker
from training.initialise import initialise_tracker
from training.rollout import FrameOutcome, Memories, Rollout, tracker_at
from training.spec import UNNAMED, make_clip
from training.spec import nameless as nameless_of
from training.tracker_losses import TrackerLossWeights, actual_quality, frame_losses


def outcome_of(masks: torch.Tensor, there: float) -> FrameOutcome:
    """An outcome that proposes ``masks`` (N, K, H, W)."""
    quality = torch.full(masks.shape[:2], 0.5)
    return FrameOutcome(masks, quality, torch.full((len(masks),), there), single=False)


def test_only_the_best_of_several_masks_is_pulled_to_the_truth() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:6, 2:6] = 1
    masks = torch.stack([torch.zeros(8, 8), truth[0] * 4 - 2, -truth[0], torch.zeros(8, 8)])[None]
    masks.requires_grad_()
    losses = frame_losses(outcome_of(masks, 5.0), truth, TrackerLossWeights(single=0.0))
    losses["mask"].backward()
    assert masks.grad is not None
    moved = masks.grad[0].abs().flatten(1).sum(1) > 0
    assert moved.tolist() == [False, True, False, False]


def test_a_hidden_object_counts_in_the_object_score_only() -> None:
    truth = torch.zeros(1, 8, 8)
    masks = torch.randn(1, 4, 8, 8)
    said_there = frame_losses(outcome_of(masks, 5.0), truth, TrackerLossWeights())
    said_gone = frame_losses(outcome_of(masks, -5.0), truth, TrackerLossWeights())
    assert float(said_there["mask"]) == float(said_there["quality"]) == 0.0
    assert float(said_there["presence"]) > 5 * float(said_gone["presence"])


def test_quality_is_the_iou() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[0, :2] = 1
    masks = torch.full((1, 2, 4, 4), -1.0)
    masks[0, 0, :2] = 1
    masks[0, 1, 1:3] = 1
    assert actual_quality(masks, truth)[0].tolist() == pytest.approx([1.0, 1 / 3])


def test_clips_begin_with_every_object_in_view() -> None:
    for number in range(6):
        clip = make_tracked_clip(number, SIDE, 5, 3, "train")
        assert clip.coverage.shape[0] == len(clip.pixels) == 5
        assert clip.visible[0].all()
        assert not (clip.visible & clip.hidden).any()


def test_clips_are_looked_through_for_objects_that_hide() -> None:
    def hiding(rate: float) -> int:
        clips = [
            make_tracked_clip(number, SIDE, 6, 3, "train", hiding_rate=rate) for number in range(8)
        ]
        return sum(bool(clip.hidden.any()) for clip in clips)

    assert hiding(1.0) >= 6
    assert hiding(0.0) <= 4


def test_clips_without_names_are_the_same_clips_of_other_things() -> None:
    for number in range(4):
        named, nameless = (
            make_tracked_clip(number, SIDE, 1, 9, "train", nameless_rate=rate) for rate in (0, 1)
        )
        assert not torch.equal(named.pixels, nameless.pixels)
        again = make_tracked_clip(number, SIDE, 1, 9, "train", nameless_rate=1.0)
        assert torch.equal(nameless.pixels, again.pixels)
    spec = make_clip(3, "train", num_objects=(5, 5))
    other = nameless_of(spec, 100)
    assert {thing.kind for thing in other.objects} == {UNNAMED}
    for place, (thing, turned) in enumerate(zip(spec.objects, other.objects, strict=True)):
        assert turned.track == thing.track
        if thing.obj_id >= 0:
            assert turned.outline == "blob"
            assert turned.surface.seed == 100 + place
        else:
            assert turned == thing


def test_memories_are_what_the_memory_bank_gathers() -> None:
    config = small_tracker_config()
    cells = config.grid[0] * config.grid[1]
    bank = MemoryBank(config, config.grid)
    bank.append_rows(2)
    memories = Memories(gap=0)
    for t in range(9):
        maps = torch.randn(2, cells, 16).bfloat16()
        pointers = torch.randn(2, 16)
        bank.write([0, 1], t, maps, pointers, conditioning=t in (0, 4))
        memories.maps.append(maps)
        memories.pointers.append(pointers)
        if t == 4:
            memories.conditioning.append(t)
    mine, theirs = memories.batch(config), bank.gather(9, reverse=False)

    def entries(offsets: torch.Tensor, values: torch.Tensor) -> list[tuple[float, float]]:
        return sorted(
            (round(float(o), 4), round(float(v.float().sum()), 2))
            for o, v in zip(offsets[0], values[0], strict=True)
        )

    assert entries(mine.map_offsets, mine.maps) == entries(theirs.map_offsets, theirs.maps)
    assert entries(mine.pointer_offsets, mine.pointers) == entries(
        theirs.pointer_offsets, theirs.pointers
    )


def test_gradients_reach_every_part_of_the_tracker() -> None:
    tracker = TrackerModel(small_tracker_config()).train()
    initialise_tracker(tracker)
    reached: set[str] = set()
    for seed in range(20):
        clip = make_tracked_clip(seed, SIDE, 4, 2, "train")
        size = SIDE // 4
        levels = tuple(torch.randn(4, 16, size // n, size // n) for n in (1, 2, 4))
        rollout = Rollout(tracker, torch.Generator().manual_seed(seed), (0.6, 0.2, 0.2))
        outcomes = rollout.run(levels, clip.coverage, clip.boxes)
        losses = [
            term
            for t, outcome in outcomes
            for term in frame_losses(outcome, clip.coverage[t], TrackerLossWeights()).values()
        ]
        tracker.zero_grad()
        torch.stack(losses).sum().backward()
        reached |= {
            name
            for name, p in tracker.named_parameters()
            if p.grad is not None and p.grad.abs().sum() > 0
        }
    missed = {name for name, _ in tracker.named_parameters()} - reached
    assert {name.split(".")[0] for name in missed} <= {
        "no_memory_positional_encoding",
        "mask_decoder",  # proposals that were never the best, biases that cancel out
        "memory_attention",
        "prompt_encoder",
    }
    assert not any("upscale" in name or "conv_s" in name for name in missed)


def test_the_single_mask_is_pulled_where_it_is_the_answer() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:6, 2:6] = 1
    masks = torch.randn(1, 4, 8, 8, requires_grad=True)
    outcome = replace(outcome_of(masks, 5.0), single=True)
    frame_losses(outcome, truth, TrackerLossWeights(single=0.0))["mask"].backward()
    assert masks.grad is not None
    moved = masks.grad[0].abs().flatten(1).sum(1) > 0
    assert moved.tolist() == [True, False, False, False]


@pytest.mark.parametrize("center_rate", [0.0, 1.0])
def test_correcting_clicks_stand_where_the_answer_is_wrong(center_rate: float) -> None:
    tracker = TrackerModel(small_tracker_config()).train()
    initialise_tracker(tracker)
    given: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Watched(Rollout):
        def _prompted(self, frame, points, labels, previous):  # type: ignore[no-untyped-def]
            given.append((points, labels))
            return super()._prompted(frame, points, labels, previous)

    clip = make_tracked_clip(5, SIDE, 1, 3, "train")
    size = SIDE // 4
    levels = tuple(torch.randn(1, 16, size // n, size // n) for n in (1, 2, 4))
    for seed in range(8):
        rollout = Watched(
            tracker,
            torch.Generator().manual_seed(seed),
            (0.0, 1.0, 0.0),
            center_rate=center_rate,
        )
        before = len(given)
        with torch.no_grad():
            outcomes = rollout.run(levels, clip.coverage, clip.boxes)
        assert len(outcomes) == len(given) - before
        for number, (points, labels) in enumerate(given[before:], start=1):
            assert points.shape == (clip.coverage.shape[1], number, 2)
            cells = (points[:, -1] / (SIDE / size)).long()
            rows = torch.arange(len(points))
            on_it = clip.coverage[0][rows, cells[:, 1], cells[:, 0]] >= 0.5
            assert labels[:, -1].bool().tolist() == on_it.tolist()
            if number > 1:
                earlier = outcomes[number - 2][1]
                best = earlier.iou_scores[:, 1:].argmax(1) + 1
                chosen = torch.zeros_like(best) if earlier.single else best
                said = earlier.masks[rows, chosen] > 0
                wrong = said != (clip.coverage[0] >= 0.5)
                hit = wrong[rows, cells[:, 1], cells[:, 0]]
                assert (hit | ~wrong.flatten(1).any(1)).all()
                if center_rate:
                    assert cells.tolist() == deepest_cells(wrong).long().tolist()
    assert max(points.shape[1] for points, _ in given) > 1


def test_clicks_of_the_evaluation_are_the_deepest_cells() -> None:
    region = torch.zeros(2, 9, 9, dtype=torch.bool)
    region[0, 1:8, 2:7] = True
    region[1, 0, 0] = True
    x, y = deepest_cells(region)[0].tolist()
    assert x == 2 + 2
    assert 3 <= y <= 5
    assert deepest_cells(region)[1].tolist() == [0.0, 0.0]


def test_clicking_through_gives_every_click_to_the_model() -> None:
    tracker = TrackerModel(small_tracker_config()).eval()
    initialise_tracker(tracker)
    clip = make_tracked_clip(5, SIDE, 1, 3, "train")
    size = SIDE // 4
    fine, middle, coarse = (torch.randn(1, 16, size // n, size // n) for n in (1, 2, 4))
    with torch.no_grad():
        frame = tracker.embed(TrackerFeatures((fine, middle, coarse)))
        quality = click_through(tracker, frame, clip.coverage[0], 3)
        place = (deepest_cells(clip.coverage[0] >= 0.5)[:, None] + 0.5) * (SIDE / size)
        ones = torch.ones(len(place), 1, dtype=torch.int64)
        alone = tracker.prompt(frame, points=place, point_labels=ones, memory=None)
    assert len(quality) == 3
    truth = actual_quality(alone.low_res_masks[:, None], clip.coverage[0])[:, 0]
    torch.testing.assert_close(quality[0], truth)


def test_another_image_size_shares_the_parameters() -> None:
    tracker = TrackerModel(small_tracker_config())
    twin = tracker_at(tracker, 2 * SIDE)
    assert twin.grid == (8, 8)
    assert all(a is b for a, b in zip(tracker.parameters(), twin.parameters(), strict=True))


def test_metrics_of_an_untrained_tracker_lie_in_range() -> None:
    detector = Detector(small_detector_config(vocab_size=64)).eval()
    tracker = TrackerModel(small_tracker_config()).eval()
    initialise_tracker(tracker)
    plan = ClipPlan(SIDE, 4, 2, "validation", first=0, count=3)
    metrics = evaluate_tracker(detector, tracker, plan)
    metrics |= evaluate_prompts(detector, tracker, plan)
    assert {"mask_miou", "iou_after_1", "iou_after_3", "iou_of_box"} <= set(metrics)
    assert all(0.0 <= value <= 1.0 for value in metrics.values())
