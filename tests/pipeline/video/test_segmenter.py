"""Frames in, masks with lasting identities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from maskstream.core.errors import ConfigError, InputError, PromptError
from maskstream.detector.frames import FrameDetector
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sources import ArraySource, Frame
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import Latency, VideoSegmenter, stamp_of
from maskstream.pipeline.video.tracking import SessionTracking
from maskstream.tracker.video_tracker import NO_CONCEPT
from tests.pipeline import scene

CIRCLE_BOX = [0.16, 0.17, 0.24, 0.33]
SQUARE_CENTRE = [230 / scene.WIDTH, 170 / scene.HEIGHT]


def play(segmenter: VideoSegmenter, frames: Sequence[Frame]) -> list[FrameResult]:
    results = [result for frame in frames for result in segmenter.step(frame)]
    return results + segmenter.flush()


def mask_of(result: FrameResult, obj_id: int) -> Any:
    return result.masks[result.obj_ids.tolist().index(obj_id)]


def test_words_give_masks_with_one_identity(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model)
    red = segmenter.add_concept("red circle")
    blue = segmenter.add_concept("blue square")
    results = play(segmenter, scene.frames(20))
    assert [result.frame_index for result in results] == list(range(20))
    for result in results:
        assert sorted(result.labels) == ["blue square", "red circle"]
        truth = {
            "red circle": scene.red_circle(result.frame_index),
            "blue square": scene.blue_square(result.frame_index),
        }
        for label, mask in zip(result.labels, result.masks, strict=True):
            assert scene.iou(mask, truth[label]) > 0.7, (result.frame_index, label)
        assert sorted(result.prompt_ids) == [red, blue]
        assert result.pts_s == pytest.approx(result.frame_index / 10)
    assert len({tuple(sorted(result.obj_ids)) for result in results}) == 1


def test_boxes_belong_to_masks(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model, latency="live")
    segmenter.add_concept("red circle")
    [result] = segmenter.step(scene.frames(1)[0])
    rows, columns = np.nonzero(result.masks[0])
    x, y, w, h = result.boxes_xywh[0] * [scene.WIDTH, scene.HEIGHT, scene.WIDTH, scene.HEIGHT]
    assert (x, y) == pytest.approx((columns.min(), rows.min()), abs=1e-3)
    assert (x + w, y + h) == pytest.approx((columns.max() + 1, rows.max() + 1), abs=1e-3)


def test_absent_concepts_give_nothing(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model)
    segmenter.add_concept("green star")
    assert all(len(result) == 0 for result in play(segmenter, scene.frames(18)))


def test_a_mask_is_followed(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model)
    frames = scene.frames(12)
    obj_id = segmenter.add_object(frames[0], mask=scene.blue_square(0))
    for result in play(segmenter, frames):
        assert result.obj_ids.tolist() == [obj_id]
        assert result.prompt_ids.tolist() == [NO_CONCEPT]
        assert result.states == ["confirmed"]
        assert scene.iou(result.masks[0], scene.blue_square(result.frame_index)) > 0.9


def test_drawn_objects_have_labels(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model, latency="live")
    (frame,) = scene.frames(1)
    segmenter.add_concept("green star")
    for place, label in enumerate(("square", None, "square", "corner")):
        mask = np.zeros((scene.HEIGHT, scene.WIDTH), np.bool_)
        mask[10:40, 40 * place + 5 : 40 * place + 30] = True
        segmenter.add_object(frame, mask=mask, label=label)
    segmenter.add_object(frame, obj_id=3, mask=mask, label="too late")
    with pytest.raises(PromptError):
        segmenter.add_object(frame, box=[0, 0, 0, 0], label="nothing")
    assert segmenter.add_concept("red star") == 3
    result = segmenter.at(frame)
    assert result.labels == ["square", "object", "square", "corner"]
    assert result.prompt_ids.tolist() == [1, NO_CONCEPT, 1, 2]


def test_labels_of_many_objects_are_kept_and_those_of_gone_ones_are_not(model: VideoModel) -> None:
    tracking = SessionTracking(model.tracker, model.config, latency="live")
    (frame,) = scene.frames(1)
    features = FrameDetector(model.detector).encode([frame.image]).tracker_features(0)
    mask = scene.blue_square(0)
    for number in range(3):
        tracking.add_object(stamp_of(frame), features, obj_id=number, mask=mask, label=f"{number}")
    for number in range(300):
        tracking.add_concept(f"thing {number}")
        tracking.remove_concept(3 + number)
    assert tracking.at(stamp_of(frame)).labels == ["0", "1", "2"]
    assert len(tracking.state_dict()["labels"]) < 300


@pytest.mark.parametrize(
    "shown",
    [
        {"points": [SQUARE_CENTRE]},
        {"points": [SQUARE_CENTRE, [0.05, 0.05]], "point_labels": [1, 0]},
        {"box": [0.61, 0.56, 0.22, 0.29]},
    ],
    ids=["click", "clicks", "box"],
)
def test_clicks_and_boxes_make_one_object(model: VideoModel, shown: dict[str, Any]) -> None:
    segmenter = VideoSegmenter(model, latency="live")
    frames = scene.frames(3)
    obj_id = segmenter.add_object(frames[0], **shown)
    assert segmenter.add_object(frames[0], obj_id=obj_id, **shown) == obj_id
    for result in play(segmenter, frames):
        assert result.frame_stats["num_masklets"] == 1
        assert result.obj_ids.tolist() == [obj_id]
        # What is asked of a click on things never seen; this checkpoint gives 0.81 to 0.97 here.
        assert scene.iou(result.masks[0], scene.blue_square(result.frame_index)) > 0.8


def test_exemplar_boxes_find_their_kind(model: VideoModel) -> None:
    frames = scene.frames(3)
    segmenter = VideoSegmenter(model, latency="live")
    prompt_id = segmenter.add_concept(frame=frames[0], boxes=[CIRCLE_BOX])
    results = play(segmenter, frames)
    assert all(prompt_id in result.prompt_ids for result in results)
    assert scene.iou(results[0].masks[0], scene.red_circle(0)) > 0.6


def test_later_prompts_leave_what_is_tracked_alone(model: VideoModel) -> None:
    frames = scene.frames(24)

    def run(*, more: bool) -> list[FrameResult]:
        segmenter = VideoSegmenter(model, latency="live")
        segmenter.add_concept("red circle")
        results = []
        for frame in frames:
            if more and frame.index == 8:
                segmenter.add_concept("blue square")
            if more and frame.index == 10:
                segmenter.add_object(frame, points=[[0.1, 0.9]])
            results += segmenter.step(frame)
        return results

    alone, among_others = run(more=False), run(more=True)
    [obj_id] = alone[0].obj_ids.tolist()
    assert any(len(result) > 1 for result in among_others)
    for one, other in zip(alone, among_others, strict=True):
        assert np.array_equal(mask_of(one, obj_id), mask_of(other, obj_id)), one.frame_index


def test_delayed_is_live_without_what_was_withdrawn(model: VideoModel) -> None:
    frames = scene.frames(30)
    outcomes: dict[str, list[FrameResult]] = {}
    latencies: tuple[Latency, ...] = ("live", "delayed")
    for latency in latencies:
        segmenter = VideoSegmenter(model, latency=latency)
        segmenter.add_concept("red circle")
        outcomes[latency] = play(segmenter, frames)
    assert outcomes["live"][0].states == ["provisional"]
    assert outcomes["delayed"][0].states == ["confirmed"]
    for live, delayed in zip(outcomes["live"], outcomes["delayed"], strict=True):
        kept = [i for i, obj_id in enumerate(live.obj_ids) if obj_id in delayed.obj_ids]
        assert np.array_equal(live.select(kept).masks, delayed.masks)


def test_delay_holds_results_back(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model)
    segmenter.add_concept("red circle")
    delay = model.config.hotstart_delay
    counts = [len(segmenter.step(frame)) for frame in scene.frames(delay + 3)]
    assert counts == [0] * (delay - 1) + [1] * 4
    assert len(segmenter.flush()) == delay - 1


def test_directions(model: VideoModel) -> None:
    source = ArraySource([scene.image(index) for index in range(9)])

    def indices(**options: Any) -> list[int]:
        segmenter = VideoSegmenter(model)
        segmenter.add_concept("red circle")
        return [result.frame_index for result in segmenter.run(source, **options)]

    assert indices() == list(range(9))
    assert indices(direction="backward", start_frame=5) == [4, 3, 2, 1, 0]
    assert indices(direction="both", start_frame=5) == [5, 6, 7, 8, 4, 3, 2, 1, 0]
    assert indices(direction="both", start_frame=5, max_frames=2) == [5, 6, 4, 3]
    assert indices(direction="backward") == []
    with pytest.raises(InputError, match="direction"):
        indices(direction="sideways")
    with pytest.raises(InputError, match="frame 9"):
        indices(start_frame=9)


def test_backward_keeps_identities(model: VideoModel) -> None:
    source = ArraySource([scene.image(index) for index in range(16)])
    segmenter = VideoSegmenter(model)
    segmenter.add_concept("red circle")
    results = list(segmenter.run(source, direction="both", start_frame=8))
    assert {tuple(result.obj_ids) for result in results} == {(0,)}
    for result in results:
        assert scene.iou(result.masks[0], scene.red_circle(result.frame_index)) > 0.7


def test_find_now_then_step_start_an_object_once(model: VideoModel) -> None:
    frames = scene.frames(3)
    segmenter = VideoSegmenter(model, latency="live")
    prompt_id = segmenter.add_concept("red circle")
    found = segmenter.find_now(frames[0], prompt_id)
    stepped = play(segmenter, frames)
    assert found.obj_ids.tolist() == [0]
    assert [result.obj_ids.tolist() for result in stepped] == [[0], [0], [0]]
    assert np.array_equal(found.masks, stepped[0].masks)


def test_same_words_are_one_concept(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model)
    assert segmenter.add_concept("star") == segmenter.add_concept("star")
    assert segmenter.add_concept("circle") != segmenter.add_concept("star")


def test_removing(model: VideoModel) -> None:
    frames = scene.frames(8)
    segmenter = VideoSegmenter(model, latency="live")
    red = segmenter.add_concept("red circle")
    segmenter.add_concept("blue square")
    first = segmenter.step(frames[0])[0]
    gone = segmenter.remove_concept(red)
    assert gone == first.obj_ids[first.prompt_ids == red].tolist()
    [square] = segmenter.step(frames[1])[0].obj_ids.tolist()
    assert segmenter.remove_object(square)
    assert not segmenter.remove_object(square)
    assert segmenter.remove_concept(99) == []
    segmenter.reset()
    assert segmenter.concepts == []
    assert len(segmenter.step(frames[2])[0]) == 0


def test_removed_objects_vanish_from_what_is_held_back(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model)
    segmenter.add_concept("red circle")
    for frame in scene.frames(5):
        segmenter.step(frame)
    assert segmenter.remove_object(0)
    assert all(0 not in result.obj_ids for result in segmenter.flush())


def test_a_frame_can_be_of_any_size(model: VideoModel) -> None:
    segmenter = VideoSegmenter(model, latency="live")
    segmenter.add_concept("circle")
    for index, size in enumerate([(1, 1), (33, 517), (240, 320)]):
        [result] = segmenter.step(Frame(index, None, np.zeros((*size, 3), np.uint8)))
        assert result.frame_size == size


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "a text, boxes or points"),
        ({"text": ""}, "empty"),
        ({"text": "word " * 60}, "token"),
        ({"boxes": [[0.1, 0.1, 0.2, 0.2]]}, "frame"),
        ({"boxes": [[0.1, 0.1, 0.2]], "frame": scene.frames(1)[0]}, "4 numbers"),
        ({"boxes": [[0.9, 0.1, 1.5, 0.2]], "frame": scene.frames(1)[0]}, "outside"),
        ({"boxes": [[0.1, 0.1, 0.0, 0.2]], "frame": scene.frames(1)[0]}, "area"),
        ({"points": [[float("nan"), 0.1]], "frame": scene.frames(1)[0]}, "finite"),
        (
            {"boxes": [[0.1] * 4], "box_labels": [1, 0], "frame": scene.frames(1)[0]},
            "2 entries",
        ),
    ],
)
def test_bad_concepts_are_named_and_change_nothing(
    model: VideoModel, arguments: dict[str, Any], complaint: str
) -> None:
    segmenter = VideoSegmenter(model)
    with pytest.raises(PromptError, match=complaint):
        segmenter.add_concept(**arguments)
    assert segmenter.concepts == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "point"),
        ({"points": [[1.5, 0.5]]}, r"0|1"),
        ({"points": [[0.5, 0.5]], "point_labels": [1, 1]}, "label"),
        ({"box": [0.5, 0.5, 1.9, 0.1]}, "outside"),
        ({"mask": np.zeros((5, 5), bool)}, "mask"),
        ({"mask": np.ones((5, 5), bool), "points": [[0.5, 0.5]]}, "mask"),
    ],
)
def test_bad_objects_are_named_and_change_nothing(
    model: VideoModel, arguments: dict[str, Any], complaint: str
) -> None:
    segmenter = VideoSegmenter(model, latency="live")
    frame = scene.frames(1)[0]
    with pytest.raises(PromptError, match=complaint):
        segmenter.add_object(frame, **arguments)
    assert segmenter.step(frame)[0].frame_stats["num_masklets"] == 0


def test_bad_settings(model: VideoModel) -> None:
    with pytest.raises(InputError, match="latency"):
        VideoSegmenter(model, latency="soon")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="score_threshold"):
        VideoSegmenter(model, score_threshold=2.0)
    with pytest.raises(ConfigError, match="dtype"):
        VideoModel.from_checkpoint("tiny", dtype="int8")
    with pytest.raises(ConfigError, match="device"):
        VideoModel.from_checkpoint("tiny", device="abacus")
