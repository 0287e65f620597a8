"""Delayed output against transformers' own buffer, and its own promises."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from maskstream.tracker.delay import Delay
from maskstream.tracker.lifecycle import MaskletState
from maskstream.tracker.tracked_frame import FrameStats, TrackedFrame
from tests.parity.reference import video_model_class


def frame_with(
    frame_index: int,
    first_frames: dict[int, int],
    *,
    removed: tuple[int, ...] = (),
    confirmed: tuple[int, ...] = (),
    states: dict[int, MaskletState] | None = None,
) -> TrackedFrame:
    """A frame with some objects, by identity where they started; everything else says which."""
    obj_ids = list(first_frames)
    names = torch.tensor(obj_ids, dtype=torch.float32)
    return TrackedFrame(
        frame_index=frame_index,
        obj_ids=obj_ids,
        prompt_ids=[10 * obj_id for obj_id in obj_ids],
        low_res_masks=names[:, None, None].expand(-1, 2, 2),
        detection_scores=names,
        last_detection_scores=names,
        tracker_scores=names,
        states=[(states or {}).get(obj_id, MaskletState.PROVISIONAL) for obj_id in obj_ids],
        first_frames=[first_frames[obj_id] for obj_id in obj_ids],
        newly_removed=list(removed),
        newly_confirmed=list(confirmed),
        frame_stats=FrameStats(num_masklets=len(obj_ids)),
    )


def video(rng: np.random.Generator, num_frames: int, delay: int) -> list[TrackedFrame]:
    """Objects that come at random, of which some are withdrawn in hot start."""
    frames, alive, next_id = [], {}, 0
    for index in range(num_frames):
        removed = tuple(
            obj_id
            for obj_id, first in alive.items()
            if 0 < index - first < delay and rng.random() < 0.2
        )
        alive = {obj_id: first for obj_id, first in alive.items() if obj_id not in removed}
        for _ in range(int(rng.integers(0, 3))):
            alive[next_id] = index
            next_id += 1
        frames.append(frame_with(index, alive, removed=removed))
    return frames


def as_transformers_yields(
    frames: list[TrackedFrame], delay: int
) -> list[list[tuple[int, list[int]]]]:
    """For every frame that goes in, the frames that come out and the objects then shown on them."""
    base: Any = video_model_class()
    pushed: list[list[tuple[int, list[int]]]] = []
    removed: set[int] = set()

    class Playback(base):  # type: ignore[misc]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.hotstart_delay = delay

        def forward(self, inference_session: Any, frame_idx: int, reverse: bool) -> Any:
            pushed.append([])
            removed.update(frames[frame_idx].newly_removed)
            return SimpleNamespace(frame_idx=frame_idx, removed_obj_ids=set(removed))

    session = SimpleNamespace(num_frames=len(frames), hotstart_removed_obj_ids=set())
    for out in Playback().propagate_in_video_iterator(session):
        hidden = session.hotstart_removed_obj_ids
        shown = [i for i in frames[out.frame_idx].obj_ids if i not in hidden]
        pushed[-1].append((out.frame_idx, shown))
    return pushed


def shown(frames: list[TrackedFrame]) -> list[tuple[int, list[int]]]:
    return [(frame.frame_index, frame.obj_ids) for frame in frames]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(1, 14))
def test_same_frames_at_the_same_time_as_transformers(
    seed: int, delay: int, num_frames: int
) -> None:
    frames = video(np.random.default_rng(seed), num_frames, delay)
    buffer = Delay(delay)
    ours = []
    for frame in frames:
        ours.append(shown(buffer.push(frame)))
        assert len(buffer) < max(delay, 1)
    ours[-1] += shown(buffer.flush())
    assert ours == as_transformers_yields(frames, delay)


def test_without_delay_frames_go_through_as_they_are() -> None:
    buffer = Delay(0)
    frame = frame_with(3, {0: 1, 1: 3}, removed=(2,), confirmed=(0,))
    out = buffer.push(frame)
    assert len(out) == 1
    assert out[0] is frame
    assert len(buffer) == 0
    assert buffer.flush() == []


def test_what_comes_out_is_final() -> None:
    """Withdrawn objects were never there, others are confirmed from where they start."""
    buffer = Delay(3)
    states = {2: MaskletState.SUPPRESSED, 3: MaskletState.CONFIRMED}
    assert buffer.push(frame_with(5, {0: 5, 1: 4, 2: 5, 3: 0}, states=states)) == []
    assert buffer.push(frame_with(6, {0: 5, 1: 4, 2: 5, 3: 0})) == []
    [out] = buffer.push(frame_with(7, {0: 5, 2: 5, 3: 0}, removed=(1,), confirmed=(0, 2)))
    assert out.frame_index == 5
    assert out.obj_ids == [0, 2, 3]
    assert out.states == [
        MaskletState.CONFIRMED,
        MaskletState.SUPPRESSED,
        MaskletState.CONFIRMED,
    ]
    assert out.newly_confirmed == [0, 2]
    assert out.newly_removed == []
    # Everything of a row goes with it.
    assert out.prompt_ids == [0, 20, 30]
    assert out.first_frames == [5, 5, 0]
    for values in (out.detection_scores, out.last_detection_scores, out.tracker_scores):
        assert values.tolist() == [0, 2, 3]
    assert out.low_res_masks[:, 0, 0].tolist() == [0, 2, 3]
    rest = buffer.flush()
    assert shown(rest) == [(6, [0, 2, 3]), (7, [0, 2, 3])]
    assert all(frame.newly_confirmed == frame.newly_removed == [] for frame in rest)


def test_backwards() -> None:
    buffer = Delay(3)
    out = []
    for index in range(9, 4, -1):
        removed = (1,) if index == 6 else ()
        alive = {0: 9} if index <= 6 else {0: 9, 1: 8} if index <= 8 else {0: 9}
        out.append(shown(buffer.push(frame_with(index, alive, removed=removed))))
    assert out == [[], [], [(9, [0])], [(8, [0])], [(7, [0])]]
    assert shown(buffer.flush()) == [(6, [0]), (5, [0])]
    assert len(buffer) == 0


def test_frames_left_out_by_the_caller_keep_the_time_that_they_take() -> None:
    """Hot start counts frame indices: one seen five frames on is settled."""
    buffer = Delay(5)
    assert buffer.push(frame_with(0, {0: 0})) == []
    assert buffer.push(frame_with(3, {0: 0})) == []
    assert [f.frame_index for f in buffer.push(frame_with(4, {0: 0}))] == [0]
    assert [f.frame_index for f in buffer.push(frame_with(20, {0: 0}))] == [3, 4]
    assert len(buffer) == 1


@pytest.mark.parametrize("indices", [[0] * 50, list(range(50)), [i // 3 for i in range(50)]])
def test_never_holds_as_many_as_the_delay(indices: list[int]) -> None:
    buffer, num_out = Delay(4), 0
    for index in indices:
        num_out += len(buffer.push(frame_with(index, {0: 0})))
        assert len(buffer) < 4
    assert num_out + len(buffer.flush()) == 50


def test_what_a_user_removed_is_left_out_of_what_is_held() -> None:
    buffer = Delay(4)
    for index in range(3):
        buffer.push(frame_with(index, {0: 0, 1: 0}))
    buffer.hide(0)
    buffer.hide(99)
    assert shown(buffer.push(frame_with(3, {0: 0, 1: 0}))) == [(0, [1])]
    assert shown(buffer.flush()) == [(1, [1]), (2, [1]), (3, [0, 1])]


def test_a_frame_given_is_not_changed() -> None:
    buffer = Delay(2)
    frame = frame_with(0, {0: 0, 1: 0})
    buffer.push(frame)
    buffer.push(frame_with(1, {1: 0}, removed=(0,)))
    assert frame.obj_ids == [0, 1]
    assert frame.states == [MaskletState.PROVISIONAL] * 2
