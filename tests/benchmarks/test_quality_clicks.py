from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality_clicks import (
    Clicked,
    Pointer,
    box_in,
    click_through,
    follow,
    group_of,
    iou,
    rows_of_groups,
)
from benchmarks.quality_scenes import Scene
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.video.segmenter import VideoSegmenter
from training.clicks import deepest

HEIGHT, WIDTH = 20, 40
Mask = NDArray[np.bool_]


def rectangle(x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def scene(*masks: Mask) -> Scene:
    return Scene(
        image=np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        masks=np.stack(masks),
        counts=np.asarray([True] * len(masks)),
        kinds=np.full(len(masks), -1),
        colors=np.full(len(masks), -1),
    )


class Scripted:
    """Takes prompts down and answers each with the next of given masks."""

    def __init__(self, *answers: Mask) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.masks: dict[int, Mask] = {}

    def add_object(self, frame: Frame, **prompt: Any) -> int:
        obj_id = prompt.pop("obj_id", None)
        obj_id = len(self.masks) if obj_id is None else obj_id
        self.asked.append({"obj_id": obj_id, **prompt})
        self.masks[obj_id] = self.answers.pop(0)
        return int(obj_id)

    def remove_object(self, obj_id: int) -> bool:
        return self.masks.pop(obj_id, None) is not None

    def at(self, frame: Frame) -> FrameResult:
        """As the real one, without what has an empty mask."""
        seen = {obj_id: mask for obj_id, mask in self.masks.items() if mask.any()}
        empty = FrameResult.empty(frame.index, None, (HEIGHT, WIDTH))
        count = len(seen)
        return FrameResult(
            frame_index=frame.index,
            pts_s=None,
            obj_ids=np.asarray(list(seen), np.int64),
            prompt_ids=np.zeros(count, np.int64),
            labels=["object"] * count,
            scores=np.ones(count, np.float32),
            tracker_scores=np.ones(count, np.float32),
            boxes_xywh=np.zeros((count, 4), np.float32),
            masks=np.stack(list(seen.values())) if seen else empty.masks,
            states=["confirmed"] * count,
            first_frames=np.zeros(count, np.int64),
        )

    def step(self, frame: Frame) -> list[FrameResult]:
        return [self.at(frame)]


def pointer(scripted: Scripted, *truth: Mask) -> Pointer:
    return Pointer(cast(VideoSegmenter, scripted), scene(*truth))


def test_iou_by_hand() -> None:
    assert iou(rectangle(0, 0, 10, 10), rectangle(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou(rectangle(0, 0, 1, 1), rectangle(0, 0, 0, 0)) == 0.0
    assert iou(rectangle(0, 0, 0, 0), rectangle(0, 0, 0, 0)) == 0.0


def deepest_by_search(region: Mask) -> float:
    """The largest distance of a pixel of a region to what is outside, beyond the edge included."""
    padded = np.pad(region, 1)
    outside = np.argwhere(~padded)
    inside = np.argwhere(padded)
    return max(float(np.sqrt(((outside - place) ** 2).sum(1).min())) for place in inside)


@pytest.mark.parametrize("seed", range(5))
def test_deepest_pixel_is_the_one_farthest_from_the_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = np.zeros((14, 17), np.bool_)
    for _ in range(3):
        y, x = rng.integers(0, 10, 2)
        region[y : y + rng.integers(2, 7), x : x + rng.integers(2, 7)] = True
    place = deepest(region)
    assert place is not None
    outside = np.argwhere(~np.pad(region, 1)) - 1
    depth = float(np.sqrt(((outside - np.asarray(place)) ** 2).sum(1).min()))
    assert depth == pytest.approx(deepest_by_search(region))


def test_deepest_pixel_of_nothing() -> None:
    assert deepest(rectangle(0, 0, 0, 0)) is None


def test_clicks_go_to_the_worst_of_what_is_wrong() -> None:
    """Too little at first, then too much, then just right."""
    truth = rectangle(0, 4, 15, 13)
    script = Scripted(rectangle(0, 4, 5, 13), rectangle(0, 4, 24, 13), truth)
    quality = click_through(pointer(script, truth), truth)
    assert quality == [pytest.approx(1 / 3), pytest.approx(15 / 24), 1.0]
    points = [call["points"][0] for call in script.asked]
    # Middle of rows 4…12, hence row 8; the first of the columns that are as deep, 4 from the edge.
    assert points[0] == ((4 + 0.5) / WIDTH, (8 + 0.5) / HEIGHT)
    assert 5 <= points[1][0] * WIDTH < 15
    assert 15 <= points[2][0] * WIDTH < 24
    assert [call["point_labels"] for call in script.asked] == [[1], [1], [0]]
    assert [call["obj_id"] for call in script.asked] == [0, 0, 0]
    assert not any(call["clear_old_points"] for call in script.asked)
    assert not script.masks  # gone afterwards


def test_a_perfect_mask_needs_no_more_clicks() -> None:
    truth = rectangle(3, 3, 9, 9)
    script = Scripted(truth)
    assert click_through(pointer(script, truth), truth) == [1.0, 1.0, 1.0]
    assert len(script.asked) == 1


def test_an_object_that_is_not_seen_has_an_empty_mask() -> None:
    truth = rectangle(3, 3, 9, 9)
    script = Scripted(rectangle(0, 0, 0, 0), truth, truth)
    assert click_through(pointer(script, truth), truth) == [0.0, 1.0, 1.0]


def test_a_box_is_tight_and_normalised() -> None:
    truth = rectangle(10, 5, 30, 10)
    script = Scripted(rectangle(10, 5, 20, 10))
    assert box_in(pointer(script, truth), truth) == pytest.approx(0.5)
    assert script.asked[0]["box"] == pytest.approx((10 / 40, 5 / 20, 20 / 40, 5 / 20))
    assert not script.masks


def test_objects_are_followed_from_one_click_each() -> None:
    left, right = rectangle(0, 0, 8, 8), rectangle(20, 0, 28, 8)
    script = Scripted(left, right)
    scenes = [scene(left, right), scene(left, right), scene(rectangle(0, 0, 16, 8), right)]
    seen = list(follow(pointer(script, left, right), scenes))
    assert seen == [(0, 1, 1.0), (1, 1, 1.0), (0, 2, 0.5), (1, 2, 1.0)]


def test_groups_and_their_means() -> None:
    assert [group_of(*pair) for pair in ((-1, -1), (40, -1), (2, 5))] == [
        "texture",
        "emoji",
        "shape",
    ]
    seen = Clicked(after=[[0.5, 1.0], [0.7, 1.0], [0.9, 1.0]], boxed=[0.8, 0.6], followed=[0.4])
    first, second = rows_of_groups({"texture": seen, "emoji": Clicked()})
    assert first["IoU_after_1_click"] == 0.75
    assert first["IoU_after_3_clicks"] == 0.95
    assert (first["number"], first["IoU_of_a_box"], first["IoU_followed"]) == (2, 0.7, 0.4)
    assert second["IoU_after_1_click"] is None
