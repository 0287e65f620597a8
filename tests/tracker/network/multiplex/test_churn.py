"""Coming and going for long: space is bounded, and so is the number of buckets."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.network.multiplex.bucket_frame import BucketFrame, BucketMemory
from maskstream.tracker.network.multiplex.memories import MultiplexMemories
from maskstream.tracker.network.multiplex.model import MultiplexModel
from maskstream.tracker.network.multiplex.states import State
from maskstream.tracker.video_config import VideoConfig
from maskstream.tracker.video_tracker import VideoTracker
from tests.tracker.network.multiplex.small import small_model

AT_ONCE = 20
MOST_BUCKETS = 6
"""Of twenty objects at a time: two hold them, the others still remember who has gone."""

SIZE = 8
CONFIG = VideoConfig(hotstart_delay=0, fill_hole_area=0, recondition_every_nth_frame=0)


@pytest.fixture(scope="module")
def model() -> MultiplexModel:
    """As small as it gets."""
    return small_model(28, 14, 16)


@pytest.fixture(scope="module")
def features() -> TrackerFeatures:
    generator = torch.Generator().manual_seed(0)
    fine, middle, coarse = (torch.randn(1, 16, n, n, generator=generator) for n in (8, 4, 2))
    return TrackerFeatures((fine, middle, coarse), (fine, middle, coarse))


def found(count: int, concept: int) -> Detections:
    """New things of a concept of their own, so that they match nothing that is there."""
    return Detections(
        prompt_ids=torch.full((count,), concept),
        scores=torch.full((count,), 0.9),
        boxes=torch.full((count, 4), 0.5),
        masks=torch.full((count, SIZE, SIZE), 4.0),
    )


def churn(
    model: MultiplexModel, features: TrackerFeatures, num_frames: int, config: VideoConfig
) -> tuple[MultiplexMemories, list[int], list[int]]:
    """Objects come one to three at a time and stay for 1 to 60 frames; returns bucket counts."""
    luck = random.Random(1)
    tracker = VideoTracker(model, config)
    leaves: dict[int, int] = {}
    buckets, sizes = [], []
    memories = tracker._store.memories
    assert isinstance(memories, MultiplexMemories)
    for index in range(num_frames):
        for obj_id in [i for i, at in leaves.items() if at <= index]:
            tracker._store.drop({obj_id})
            del leaves[obj_id]
        count = luck.randint(1, 3) if len(leaves) < AT_ONCE - 2 and luck.random() < 0.4 else 0
        frame = tracker.step(index, features, found(count, index))
        for obj_id in frame.obj_ids:
            leaves.setdefault(obj_id, index + luck.randint(1, 60))
        assert set(frame.obj_ids) == set(leaves)
        buckets.append(memories.states.num_buckets)
        sizes.append(memories.bank.capacity + len(memories.images))
    return memories, buckets, sizes


def test_objects_come_and_go(model: MultiplexModel, features: TrackerFeatures) -> None:
    """Through the whole network; longer than anything of a frame is remembered."""
    packed = replace(CONFIG, pack_objects=True)
    memories, buckets, sizes = churn(model, features, 200, packed)
    assert max(buckets) <= MOST_BUCKETS
    assert max(sizes[100:]) <= max(sizes[:100]) + 4, "what is kept does not grow"
    assert len(memories.images) <= memories.states.num_buckets * 8 + 7
    assert len(memories.state_dict()["images"]) == len(memories.images)


@torch.no_grad()
def test_five_thousand_frames(model: MultiplexModel, features: TrackerFeatures) -> None:
    """The same for long, with everything but the arithmetic: places, slots, bank and its rings."""
    luck = random.Random(2)
    memories = MultiplexMemories(model, replace(CONFIG, pack_objects=True), None)
    frame = model.embed(features)
    cells, hidden = 4, 16
    leaves: list[int] = []
    buckets, sizes = [], []

    def kept(state: State) -> BucketMemory:
        count = len(state.table.buckets)
        pointers = state.table.mux(torch.ones(len(state.rows), hidden))
        return BucketMemory(torch.zeros(count, cells, hidden), pointers)

    for index in range(5_000):
        gone = [row for row, at in enumerate(leaves) if at <= index]
        if gone:
            memories.remove(gone)
            leaves = [at for at in leaves if at > index]
        view = BucketFrame(memories, frame, index, False, None)
        count = luck.randint(1, 3) if len(leaves) < AT_ONCE - 2 and luck.random() < 0.4 else 0
        rows = range(len(leaves), len(leaves) + count)
        stepped = range(len(memories.states.states))
        after, _ = view._placed(rows, [0] * (len(leaves) + count), stepped)
        states = list(enumerate(after.states))
        encoded = {number: kept(state) for number, state in states[: len(stepped)]}
        fresh = {number: kept(state) for number, state in states[len(stepped) :]}
        view._write(after, encoded, fresh)
        leaves += [index + luck.randint(1, 60) for _ in range(count)]
        assert memories.states.num_rows == len(leaves)
        buckets.append(memories.states.num_buckets)
        sizes.append(memories.bank.capacity + len(memories.images))
    assert max(buckets) <= MOST_BUCKETS
    assert max(sizes[2500:]) <= max(sizes[:2500]) + 4, "what is kept does not grow"


def test_by_default_shut_places_stay_shut(model: MultiplexModel, features: TrackerFeatures) -> None:
    """As in the original; no bucket is without an object, so there are never more than objects."""
    memories, buckets, _ = churn(model, features, 80, CONFIG)
    assert max(buckets) <= AT_ONCE
    assert memories.states.num_buckets <= memories.states.num_rows
