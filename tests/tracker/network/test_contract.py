"""What the video loop may rely on, whatever network carries the masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError, InputError
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.network.model import TrackerModel
from maskstream.tracker.network.multiplex.memories import MultiplexMemories
from maskstream.tracker.network.multiplex.model import MultiplexModel
from maskstream.tracker.network.protocol import TrackerNetwork
from maskstream.tracker.tracked_frame import TrackedFrame
from maskstream.tracker.video_config import VideoConfig
from maskstream.tracker.video_tracker import VideoTracker
from tests.parity.reference_tracker import randomise, tracker_config
from tests.tracker.network.multiplex.small import small_model

CELLS, HIDDEN = 4, 32
SIZE = 4 * CELLS
CONFIG = VideoConfig(hotstart_delay=0, fill_hole_area=0, recondition_every_nth_frame=0)


def single() -> TrackerModel:
    model = TrackerModel(
        tracker_config(
            cells=CELLS,
            hidden=HIDDEN,
            wide=16,
            memory_attention_num_layers=1,
            memory_encoder_output_channels=16,
        )
    ).eval()
    randomise(model, 1)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.weight.zero_()
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    return model


NETWORKS: dict[str, Callable[[], TrackerNetwork]] = {
    "single": single,
    "multiplex": lambda: small_model(14 * CELLS, 14, HIDDEN),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> TrackerNetwork:
    return NETWORKS[request.param]()


def features(index: int) -> TrackerFeatures:
    generator = torch.Generator().manual_seed(index)

    def branch() -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = (
            torch.randn(1, HIDDEN, scale * CELLS, scale * CELLS, generator=generator)
            for scale in (4, 2, 1)
        )
        return fine, middle, coarse

    return TrackerFeatures(branch(), branch())


def found(count: int, first: int = 0) -> Detections:
    """So many squares that do not touch, those of one concept."""
    masks = torch.full((count, SIZE, SIZE), -4.0)
    for number in range(count):
        y, x = divmod(first + number, 4)
        masks[number, 4 * y : 4 * y + 3, 4 * x : 4 * x + 3] = 4.0
    return Detections(
        prompt_ids=torch.zeros(count, dtype=torch.int64),
        scores=torch.full((count,), 0.9),
        boxes=torch.full((count, 4), 0.5),
        masks=masks,
    )


def start(
    network: TrackerNetwork, count: int, steps: int = 3, config: VideoConfig = CONFIG
) -> VideoTracker:
    tracker = VideoTracker(network, config)
    tracker.step(0, features(0), found(count))
    for index in range(1, steps):
        tracker.step(index, features(index), found(0))
    return tracker


def same(one: TrackedFrame, other: TrackedFrame, ids: list[int]) -> bool:
    a, b = (frame.select([frame.obj_ids.index(i) for i in ids]) for frame in (one, other))
    return torch.equal(a.low_res_masks, b.low_res_masks) and torch.equal(
        a.tracker_scores, b.tracker_scores
    )


def test_objects_keep_their_order_when_others_go(network: TrackerNetwork) -> None:
    tracker = start(network, 5)
    for obj_id in (1, 3):
        tracker.remove_object(obj_id)
    assert tracker.step(3, features(3), found(0)).obj_ids == [0, 2, 4]
    assert len(tracker._store.memories) == 3
    tracker.remove_prompt(0)
    assert tracker.step(4, features(4), found(0)).obj_ids == []
    assert len(tracker._store.memories) == 0


@pytest.mark.parametrize("count", [1, 15, 16, 17])
def test_any_number_of_objects_is_followed(network: TrackerNetwork, count: int) -> None:
    tracker = VideoTracker(network, CONFIG)
    tracker.step(0, features(0), found(min(count, 16)))
    if count > 16:
        mask = torch.ones(SIZE, SIZE, dtype=torch.bool)
        mask[0] = False
        tracker.add_object(0, features(0), mask=mask)
    frame = tracker.step(1, features(1), found(0))
    assert frame.obj_ids == list(range(count))
    assert frame.low_res_masks.shape == (count, SIZE, SIZE)
    for obj_id in range(count):
        tracker.remove_object(obj_id)
    assert len(tracker._store.memories) == 0


def test_what_is_drawn_touches_no_other(network: TrackerNetwork) -> None:
    """Bit for bit, in both: a drawn object never shares a memory."""
    plain, drawn = start(network, 3), start(network, 3)
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[8:, 8:] = True
    drawn.add_object(3, features(3), mask=mask)
    drawn.add_object(3, features(3), points=[[0.3, 0.6]])
    for index in range(3, 6):
        one = plain.step(index, features(index), found(0))
        other = drawn.step(index, features(index), found(0))
        assert same(one, other, [0, 1, 2])
        assert other.obj_ids == [0, 1, 2, 3, 4]


def test_what_is_started_between_frames_touches_no_other(network: TrackerNetwork) -> None:
    plain, more = start(network, 2), start(network, 2)
    other_concept = replace(found(2, first=8), prompt_ids=torch.ones(2, dtype=torch.int64))
    more.start_objects(3, features(3), other_concept)
    for index in range(3, 6):
        one = plain.step(index, features(index), found(0))
        assert same(one, more.step(index, features(index), found(0)), [0, 1])


@pytest.mark.parametrize("isolate", [False, True])
def test_an_object_that_joins_in_a_step(
    network: TrackerNetwork, isolate: bool, record_property: Callable[[str, object], None]
) -> None:
    """It touches no other, but where it shares a bucket: then the others stay who they are."""
    config = replace(CONFIG, isolate_objects=isolate)
    plain, joined = start(network, 2, config=config), start(network, 2, config=config)
    one = plain.step(3, features(3), found(0))
    # Of another concept: within one, objects compete for pixels in any network.
    newcomer = replace(found(1, first=10), prompt_ids=torch.ones(1, dtype=torch.int64))
    other = joined.step(3, features(3), newcomer)
    assert other.obj_ids == [0, 1, 2]
    assert same(one, other, [0, 1]), "on the frame itself nothing is shared yet"
    shares = isinstance(network, MultiplexModel) and not isolate
    overlaps = []
    for index in range(4, 8):
        one = plain.step(index, features(index), found(0))
        other = joined.step(index, features(index), found(0))
        assert other.obj_ids == [0, 1, 2]
        assert same(one, other, [0, 1]) == (not shares)
        a, b = one.low_res_masks > 0, other.low_res_masks[:2] > 0
        overlaps.append(float((a & b).sum() / (a | b).sum().clamp(min=1)))
    record_property("mask_iou_of_others", min(overlaps))


def test_a_saved_session_goes_on_bit_for_bit(network: TrackerNetwork) -> None:
    tracker = start(network, 3)
    tracker.step(3, features(3), found(1, first=10))
    tracker.add_object(3, features(3), obj_id=1, points=[[0.4, 0.4]])
    tracker.remove_object(0)
    other = VideoTracker(network, CONFIG)
    other.load_state_dict(tracker.state_dict())
    for index in range(4, 8):
        one = tracker.step(index, features(index), found(0))
        assert same(one, other.step(index, features(index), found(0)), one.obj_ids)


def test_the_state_of_another_network_is_refused() -> None:
    one, other = (start(make(), 2) for make in NETWORKS.values())
    for tracker, state in ((one, other.state_dict()), (other, one.state_dict())):
        before = tracker.state_dict()
        with pytest.raises(CheckpointError):
            tracker.load_state_dict(state)
        assert len(tracker.masklets) == len(before["masklets"])


def test_a_step_that_fails_leaves_the_session_as_it_was(
    network: TrackerNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, untouched = start(network, 2), start(network, 2)

    class NoRoomError(Exception):
        pass

    def fail(*arguments: Any, **named: Any) -> None:
        raise NoRoomError

    for name in ("embed", "propagate", "from_masks", "encode_memory"):
        with monkeypatch.context() as patch:
            patch.setattr(network, name, fail)
            with pytest.raises(NoRoomError):
                tracker.step(3, features(3), found(1, first=10))
    one = tracker.step(3, features(3), found(1, first=10))
    other = untouched.step(3, features(3), found(1, first=10))
    assert one.obj_ids == other.obj_ids == [0, 1, 2]
    assert same(one, other, [0, 1, 2])


def test_backwards_what_lies_ahead_is_remembered(network: TrackerNetwork) -> None:
    tracker = VideoTracker(network, CONFIG)
    tracker.step(9, features(9), found(2), reverse=True)
    for index in range(8, 2, -1):
        frame = tracker.step(index, features(index), found(0), reverse=True)
        assert frame.obj_ids == [0, 1]
    state = tracker.state_dict()
    again = VideoTracker(network, CONFIG)
    again.load_state_dict(state)
    one = tracker.step(2, features(2), found(0), reverse=True)
    assert same(one, again.step(2, features(2), found(0), reverse=True), [0, 1])


def test_features_of_another_shape_are_refused(network: TrackerNetwork) -> None:
    wrong = tuple(level[..., 1:] for level in features(0).levels)
    with pytest.raises(InputError, match="features of shape"):
        start(network, 1).step(3, TrackerFeatures(wrong, wrong), found(0))  # type: ignore[arg-type]


def test_a_click_on_one_of_a_bucket_leaves_the_others_who_they_are() -> None:
    tracker = start(NETWORKS["multiplex"](), 3)
    tracker.add_object(3, features(3), obj_id=1, points=[[0.4, 0.4]])
    memories = tracker._store.memories
    assert isinstance(memories, MultiplexMemories)
    assert [state.rows for state in memories.states.states] == [(0, 2), (1,)]
    frame = tracker.step(3, features(3), found(0))
    assert frame.obj_ids == [0, 1, 2]
    # What was clicked stays as it was shown.
    again = tracker.prompted(3)
    assert torch.equal(frame.low_res_masks[1], again.low_res_masks[0])
