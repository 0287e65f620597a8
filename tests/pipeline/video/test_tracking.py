"""A session saved and restored in the middle goes on to the bit as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from maskstream.core.errors import CheckpointError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.detector.frames import FrameDetector
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.state_codec import state_from_bytes, state_to_bytes
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import stamp_of
from maskstream.pipeline.video.tracking import (
    Latency,
    SessionTracking,
    detection_rules,
    shown_exemplar,
)
from tests.pipeline import scene
from tests.tracker.test_sessions import CONFIG, LEFT, LOW, Scene, found

NUM_FRAMES = 26
SAVED_AT = (3, 17)


@pytest.fixture(scope="module")
def detector(model: VideoModel) -> FrameDetector:
    return FrameDetector(model.detector)


def play(
    model: VideoModel, detector: FrameDetector, latency: Latency, saved_at: tuple[int, ...] = ()
) -> Iterator[FrameResult]:
    """A run with words, an exemplar and an object; restored from bytes before some frames."""
    rules = detection_rules(model.config, None)
    tracking = SessionTracking(model.tracker, model.config, latency=latency)
    tracking.add_concept("red circle")
    for frame in scene.frames(NUM_FRAMES):
        if frame.index in saved_at:
            blob = state_to_bytes(tracking.state_dict())
            tracking = SessionTracking(model.tracker, model.config, latency=latency)
            tracking.load_state_dict(state_from_bytes(blob))
        place, features = stamp_of(frame), detector.encode([frame.image])
        if frame.index == 1:
            shown = shown_exemplar([[0.61, 0.56, 0.22, 0.29]], None)
            tracking.add_concept(None, detector.encode_exemplar(features, shown))
        if frame.index == 2:
            tracking.add_object(
                place,
                features.tracker_features(0),
                obj_id=40,
                mask=scene.blue_square(2),
                label="a square",
            )
        if frame.index == 20:
            tracking.remove_object(40)
        found = detector.detect(features, tracking.concepts, rules)
        yield from tracking.step(place, features.tracker_features(0), found)
    yield from tracking.flush()


def assert_same(one: FrameResult, other: FrameResult) -> None:
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(other, name), equal_nan=value.dtype.kind == "f")
        else:
            assert value == getattr(other, name), name


@pytest.mark.parametrize("latency", ["delayed", "live"])
def test_a_restored_session_goes_on_to_the_bit(
    model: VideoModel, detector: FrameDetector, latency: Latency
) -> None:
    whole = list(play(model, detector, latency))
    broken = list(play(model, detector, latency, SAVED_AT))
    assert len(whole) == NUM_FRAMES
    assert any(len(result) > 1 for result in whole)
    for one, other in zip(whole, broken, strict=True):
        assert_same(one, other)


def test_what_was_shown_too_early_is_taken_back_by_name() -> None:
    """A tracker follows two discs all the time; the detector has seen one of them only once."""
    discs = Scene()
    told: dict[str, list[FrameResult]] = {}
    latencies: tuple[Latency, ...] = ("live", "delayed")
    for latency in latencies:
        tracking = SessionTracking(discs.model, CONFIG, latency=latency)
        tracking.add_concept("disc")
        results = told[latency] = []
        for index in range(8):
            seen = found(LEFT, LOW) if index == 0 else found(LEFT)
            place = FrameStamp(index, size=(64, 64))
            results += tracking.step(place, discs.video[index], seen)
        results += tracking.flush()
    live, delayed = told["live"], told["delayed"]
    assert live[0].states == ["provisional", "provisional"]
    [(last, gone)] = [(one.frame_index, one.withdrawn_ids) for one in live if one.withdrawn_ids]
    assert (last, gone) == (CONFIG.hotstart_unmatch_thresh, [1])
    assert not any(1 in one.obj_ids for one in live[last:])
    [(settled, stays)] = [(one.frame_index, one.confirmed_ids) for one in live if one.confirmed_ids]
    assert (settled, stays) == (CONFIG.hotstart_delay - 1, [0])
    states = [one.states[one.obj_ids.tolist().index(0)] for one in live]
    assert states == ["provisional"] * settled + ["confirmed"] * (8 - settled)
    # Of what nobody has been shown, nothing needs to be taken back.
    assert [one.obj_ids.tolist() for one in delayed] == [[0]] * 8
    assert [one.confirmed_ids for one in delayed] == [[0]] + [[]] * 7
    assert [one.withdrawn_ids for one in delayed] == [[]] * 8


def test_ids_go_on_after_a_restore(model: VideoModel) -> None:
    tracking = SessionTracking(model.tracker, model.config)
    assert [tracking.add_concept(text) for text in ("a", "b")] == [0, 1]
    tracking.remove_concept(1)
    other = SessionTracking(model.tracker, model.config)
    other.load_state_dict(tracking.state_dict())
    assert other.add_concept("a") == 0
    assert other.add_concept("c") == 2


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 99},
        {"concepts": [{"prompt_id": 0}]},
        {"held": [{"frame_index": 3}]},
        {"pending": [{"index": 1}]},
        {"labels": 3},
        {"surplus": 1},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(
    model: VideoModel, damage: dict[str, Any]
) -> None:
    tracking = SessionTracking(model.tracker, model.config)
    tracking.add_concept("red circle")
    good = tracking.state_dict()
    with pytest.raises(CheckpointError):
        tracking.load_state_dict({**good, **damage})
    assert [concept.text for concept in tracking.concepts] == ["red circle"]
    tracking.load_state_dict(good)


def test_bytes_keep_shapes_types_and_values() -> None:
    state = {
        "a": torch.arange(6).view(2, 3).T,
        "b": [{"c": torch.tensor([1.5, -0.0], dtype=torch.bfloat16)}, None, "$tensor", 0.1],
        "empty": torch.zeros(0, 4),
    }
    back = state_from_bytes(state_to_bytes(state))
    assert torch.equal(back["a"], state["a"])
    assert torch.equal(back["b"][0]["c"], state["b"][0]["c"])
    assert back["b"][0]["c"].dtype == torch.bfloat16
    assert back["b"][1:] == [None, "$tensor", 0.1]
    assert back["empty"].shape == (0, 4)


@pytest.mark.parametrize("blob", [b"", b"nonsense", state_to_bytes({"a": 1})[:-1]])
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(CheckpointError, match="not the state"):
        state_from_bytes(blob)


def test_concepts_that_come_and_go_leave_no_labels_behind(model: VideoModel) -> None:
    tracking = SessionTracking(model.tracker, model.config, latency="live")
    lasting = tracking.add_concept("red circle")
    for number in range(600):
        tracking.remove_concept(tracking.add_concept(f"word {number}"))
    newest = tracking.add_concept("blue square")
    state = tracking.state_dict()
    labels = dict(state["labels"])
    assert len(labels) <= 260
    assert (labels[lasting], labels[newest]) == ("red circle", "blue square")
