"""Sessions on SAM 3.1: prompts in mid-stream, and state that survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.state_codec import state_from_bytes, state_to_bytes
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter
from maskstream.tracker.network.multiplex.model import MultiplexModel
from tests.pipeline import scene
from tests.tracker.network.multiplex.small import small_folder


@pytest.fixture(scope="module")
def multiplex(tmp_path_factory: pytest.TempPathFactory) -> VideoModel:
    """The embedded detector with a small random tracker of SAM 3.1."""
    folder: Path = small_folder(tmp_path_factory.mktemp("multiplex") / "small")
    return VideoModel.from_checkpoint(folder, device="cpu")


def same(one: FrameResult, other: FrameResult) -> bool:
    return (
        one.frame_index == other.frame_index
        and np.array_equal(one.obj_ids, other.obj_ids)
        and np.array_equal(one.masks, other.masks)
        and np.array_equal(one.tracker_scores, other.tracker_scores)
        and one.states == other.states
    )


def test_prompts_come_and_go_and_a_saved_session_goes_on(multiplex: VideoModel) -> None:
    assert isinstance(multiplex.tracker, MultiplexModel)
    frames = scene.frames(12)
    segmenter = VideoSegmenter(multiplex, latency="live")
    segmenter.add_concept("red circle")
    for frame in frames[:3]:
        (result,) = segmenter.step(frame)
    assert len(result.obj_ids) >= 1 or result.frame_stats["num_masklets"] >= 1
    segmenter.add_concept("blue square")
    drawn = segmenter.add_object(frames[3], mask=scene.blue_square(3))
    clicked = segmenter.add_object(frames[3], points=[[0.2, 0.3]])
    for frame in frames[3:6]:
        (result,) = segmenter.step(frame)
    found = [m.obj_id for m in segmenter._tracking.tracker.masklets if m.prompt_id >= 0]
    assert {drawn, clicked} <= {m.obj_id for m in segmenter._tracking.tracker.masklets}
    segmenter.add_object(frames[5], obj_id=found[0], points=[[0.4, 0.4]])
    segmenter.remove_object(clicked)

    saved = state_to_bytes(segmenter._tracking.state_dict())
    other = VideoSegmenter(multiplex, latency="live")
    other._tracking.load_state_dict(state_from_bytes(saved))
    assert state_to_bytes(other._tracking.state_dict()) == saved
    for frame in frames[6:]:
        (one,), (two,) = segmenter.step(frame), other.step(frame)
        assert same(one, two)
