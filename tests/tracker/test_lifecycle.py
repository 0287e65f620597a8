"""Hot start and keep-alive against transformers' own bookkeeping; what records hold."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskstream.core.errors import CheckpointError
from maskstream.tracker.association import NO_DETECTION, Association
from maskstream.tracker.lifecycle import (
    LifecycleUpdate,
    Masklet,
    Origin,
    Sighting,
    advance,
    age_of,
    forget_objects,
    is_settled,
    start_masklet,
)
from maskstream.tracker.video_config import VideoConfig
from tests.tracker.reference_rules import reference_rules

BOX = (0.25, 0.5, 0.75, 1.0)


def seen_as(
    matches: NDArray[np.bool_],
    is_unmatched: NDArray[np.bool_],
    is_empty: NDArray[np.bool_],
    scores: NDArray[np.float32] | None = None,
    resumed: NDArray[np.int64] | None = None,
) -> Association:
    count = matches.shape[1]
    nothing = np.full(count, NO_DETECTION, np.int64)
    return Association(
        matches=matches,
        is_unmatched=is_unmatched,
        is_empty=is_empty,
        scores=np.full(count, np.nan, np.float32) if scores is None else scores,
        confirming=nothing,
        sighted=nothing,
        resumed=nothing if resumed is None else resumed,
        new_detections=np.zeros(0, np.int64),
    )


def at_random(rng: np.random.Generator, count: int) -> Association:
    kind = rng.choice(3, count, p=[0.5, 0.35, 0.15])
    return seen_as(rng.random((int(rng.integers(0, 4)), count)) < 0.4, kind == 1, kind == 2)


class TheirBookkeeping:
    """transformers' lists, filled by its own function."""

    def __init__(self, config: VideoConfig) -> None:
        self.rules = reference_rules(config)
        self.metadata: dict[str, Any] = {
            "obj_first_frame_idx": {},
            "unmatched_frame_inds": defaultdict(list),
            "trk_keep_alive": defaultdict(int),
            "overlap_pair_to_frame_inds": defaultdict(list),
            "removed_obj_ids": set(),
            "suppressed_obj_ids": defaultdict(set),
        }

    def step(
        self, frame_index: int, reverse: bool, ids: list[int], seen: Association, new: list[int]
    ) -> tuple[set[int], set[int]]:
        """Identities removed, and hidden, on this frame."""
        removed, self.metadata = self.rules._process_hotstart(
            inference_session=None,
            frame_idx=frame_index,
            reverse=reverse,
            det_to_matched_trk_obj_ids={
                detection: [ids[row] for row in np.flatnonzero(matched)]
                for detection, matched in enumerate(seen.matches)
            },
            new_det_obj_ids=new,
            empty_trk_obj_ids=[ids[row] for row in np.flatnonzero(seen.is_empty)],
            unmatched_trk_obj_ids=[ids[row] for row in np.flatnonzero(seen.is_unmatched)],
            extra_metadata=self.metadata,
        )
        return removed, self.metadata["suppressed_obj_ids"][frame_index] - removed


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_same_lives_as_in_transformers(seed: int, reverse: bool) -> None:
    rng = np.random.default_rng(seed)
    delay = int(rng.integers(0, 7))
    config = VideoConfig(
        hotstart_delay=delay,
        hotstart_unmatch_thresh=int(rng.integers(1, max(delay, 1) + 1)),
        hotstart_dup_thresh=int(rng.integers(1, max(delay, 1) + 1)),
        suppress_unmatched_only_within_hotstart=bool(rng.random() < 0.3),
        init_trk_keep_alive=2,
        max_trk_keep_alive=4,
        decrease_trk_keep_alive_for_empty_masklets=bool(rng.random() < 0.5),
    )
    theirs = TheirBookkeeping(config)
    masklets: tuple[Masklet, ...] = ()
    next_id = 0
    for step in range(25):
        frame_index = 40 - step if reverse else step
        ids = [masklet.obj_id for masklet in masklets]
        seen = at_random(rng, len(ids))
        update = advance(masklets, seen, frame_index, reverse, config)
        new = [next_id + n for n in range(int(rng.random() < 0.6) + int(rng.random() < 0.3))]
        next_id += len(new)
        removed, hidden = theirs.step(frame_index, reverse, ids, seen, new)
        assert {i for i, gone in zip(ids, update.removed, strict=True) if gone} == removed
        assert {i for i, away in zip(ids, update.hidden, strict=True) if away} == hidden
        masklets = tuple(
            m for m, gone in zip(update.masklets, update.removed, strict=True) if not gone
        )
        for masklet in masklets:
            assert masklet.keep_alive == theirs.metadata["trk_keep_alive"][masklet.obj_id]
            times = theirs.metadata["unmatched_frame_inds"].get(masklet.obj_id, [])
            assert masklet.num_unmatched == len(times)
        masklets += tuple(
            start_masklet(
                obj_id=obj_id,
                prompt_id=0,
                frame_index=frame_index,
                score=0.5,
                box=BOX,
                config=config,
            )
            for obj_id in new
        )


CONFIG = VideoConfig(hotstart_delay=4, hotstart_unmatch_thresh=2, hotstart_dup_thresh=2)


def started(obj_id: int = 0, frame_index: int = 0, config: VideoConfig = CONFIG) -> Masklet:
    return start_masklet(
        obj_id=obj_id, prompt_id=0, frame_index=frame_index, score=0.75, box=BOX, config=config
    )


def one(
    masklet: Masklet,
    frame_index: int,
    *,
    matched: bool = False,
    unmatched: bool = False,
    empty: bool = False,
    score: float = float("nan"),
    reverse: bool = False,
    config: VideoConfig = CONFIG,
) -> LifecycleUpdate:
    seen = seen_as(
        np.array([[matched]]),
        np.array([unmatched]),
        np.array([empty]),
        np.array([score], np.float32),
    )
    return advance([masklet], seen, frame_index, reverse, config)


@pytest.mark.parametrize("reverse", [False, True])
def test_confirmed_on_the_last_frame_of_hot_start_and_never_removed_after(reverse: bool) -> None:
    masklet, sign = started(frame_index=50), -1 if reverse else 1
    for age in range(1, 4):
        assert not masklet.confirmed
        update = one(masklet, 50 + sign * age, matched=True, reverse=reverse)
        assert update.newly_confirmed.tolist() == [age == 3]
        masklet = update.masklets[0]
    assert masklet.confirmed
    for age in range(4, 40):
        update = one(masklet, 50 + sign * age, unmatched=True, reverse=reverse)
        assert not update.removed.any()
        assert not update.newly_confirmed.any()
        masklet = update.masklets[0]
    assert masklet.num_unmatched == 36


def test_removed_on_the_very_frame_that_would_confirm_it() -> None:
    masklet = one(started(), 1, unmatched=True).masklets[0]
    masklet = one(masklet, 2, matched=True).masklets[0]
    update = one(masklet, 3, unmatched=True)
    assert update.removed.tolist() == [True]
    assert update.newly_confirmed.tolist() == [False]
    assert not update.masklets[0].confirmed


@pytest.mark.parametrize(("delay", "at_once"), [(0, True), (1, True), (2, False)])
def test_no_hot_start_no_waiting(delay: int, at_once: bool) -> None:
    config = VideoConfig(hotstart_delay=delay, hotstart_unmatch_thresh=1, hotstart_dup_thresh=1)
    assert started(config=config).confirmed is at_once
    update = one(started(config=config), 1, unmatched=True, config=config)
    assert update.removed.tolist() == [not at_once]


def test_age_and_settling_follow_the_direction() -> None:
    assert age_of(10, 13, False) == 3
    assert age_of(10, 7, True) == 3
    assert not is_settled(10, 12, False, CONFIG)
    assert is_settled(10, 13, False, CONFIG)
    assert not is_settled(10, 8, True, CONFIG)
    assert is_settled(10, 7, True, CONFIG)
    assert not is_settled(10, 7, False, CONFIG)


def test_user_made_ones_are_neither_removed_nor_hidden() -> None:
    config = replace(CONFIG, suppress_unmatched_only_within_hotstart=False, init_trk_keep_alive=0)
    drawn = replace(started(config=config), origin=Origin.USER, confirmed=True)
    for index in range(1, 10):
        update = one(drawn, index, unmatched=True, config=config)
        assert not update.removed.any()
        assert not update.hidden.any()
        drawn = update.masklets[0]
    found = replace(drawn, origin=Origin.DETECTOR)
    assert one(found, 10, unmatched=True, config=config).hidden.all()


def test_hidden_only_where_asked_for_and_shown_again_when_seen() -> None:
    config = replace(CONFIG, suppress_unmatched_only_within_hotstart=False, init_trk_keep_alive=1)
    found = replace(started(config=config), confirmed=True)
    assert not one(found, 9, unmatched=True, config=CONFIG).hidden.any()
    update = one(found, 9, unmatched=True, config=config)
    assert update.hidden.all()
    assert not one(update.masklets[0], 10, matched=True, config=config).hidden.any()


def test_loosely_matched_and_not_closely_goes_up_and_down() -> None:
    config = replace(CONFIG, init_trk_keep_alive=30, max_trk_keep_alive=30)
    masklet = one(started(config=config), 1, matched=True, unmatched=True, config=config)
    assert masklet.masklets[0].keep_alive == 29
    assert masklet.masklets[0].num_unmatched == 1


def test_last_score_stays_until_the_next() -> None:
    masklet = started()
    assert masklet.last_detection_score == 0.75
    masklet = one(masklet, 1).masklets[0]
    assert masklet.last_detection_score == 0.75
    masklet = one(masklet, 2, matched=True, score=0.5).masklets[0]
    assert masklet.last_detection_score == 0.5


def test_the_younger_of_two_that_share_is_withdrawn() -> None:
    pair = (started(0, 0), started(1, 1))
    no = np.zeros(2, np.bool_)
    for index in (2, 3):
        update = advance(pair, seen_as(np.array([[True, True]]), no, no), index, False, CONFIG)
        pair = update.masklets
    assert update.removed.tolist() == [False, True]
    pair = (started(0, 9), started(1, 8))
    for index in (7, 6):
        update = advance(pair, seen_as(np.array([[True, True]]), no, no), index, True, CONFIG)
        pair = update.masklets
    assert update.removed.tolist() == [False, True]


def test_shared_twice_on_one_frame_counts_twice() -> None:
    pair = (started(0, 0), started(1, 1))
    no = np.zeros(2, np.bool_)
    twice = seen_as(np.array([[True, True], [True, True]]), no, no)
    assert advance(pair, twice, 2, False, CONFIG).removed.tolist() == [False, True]


def test_counts_with_one_that_went_are_forgotten() -> None:
    masklet = replace(started(), duplicates={3: 1, 4: 1})
    assert forget_objects(masklet, {4, 9}).duplicates == {3: 1}
    assert forget_objects(masklet, {9}) is masklet
    # Within one frame: 0 goes, so 1 forgets that they shared.
    trio = (replace(started(0, 0), num_unmatched=1), started(1, 1))
    seen = seen_as(np.array([[True, True]]), np.array([True, False]), np.zeros(2, np.bool_))
    update = advance(trio, seen, 2, False, CONFIG)
    assert update.removed.tolist() == [True, False]
    assert update.masklets[1].duplicates == {}


def test_records_do_not_grow_in_ten_thousand_frames() -> None:
    rng = np.random.default_rng(0)
    config = VideoConfig(suppress_unmatched_only_within_hotstart=False)
    masklets = tuple(started(n, 0, config) for n in range(3))
    masklets = tuple(replace(m, confirmed=n == 0) for n, m in enumerate(masklets))
    sizes = set()
    for index in range(1, 10_001):
        kind = rng.integers(0, 3, 3)
        seen = seen_as(rng.random((2, 3)) < 0.5, kind == 1, kind == 2)
        masklets = advance(masklets, seen, index, False, config).masklets
        if index > config.hotstart_delay:
            sizes.add(sum(len(m.duplicates) for m in masklets))
            assert all(-1 <= m.keep_alive <= 30 for m in masklets)
    assert sizes == {0}
    for masklet in masklets:
        assert masklet.num_unmatched > 1000
        for spec in fields(masklet):
            value = getattr(masklet, spec.name)
            assert isinstance(value, int | float | str | Sighting | None) or value == {}


def test_what_resumes_lives_as_if_new() -> None:
    config = replace(CONFIG, suppress_unmatched_only_within_hotstart=False, init_trk_keep_alive=3)
    masklet = replace(started(config=config), confirmed=True, keep_alive=-1, num_unmatched=9)
    seen = seen_as(np.array([[True]]), np.array([False]), np.array([False]))
    assert advance([masklet], seen, 20, False, config).hidden.tolist() == [True]
    back = replace(seen, resumed=np.array([0]))
    update = advance([masklet], back, 20, False, config)
    assert update.hidden.tolist() == [False]
    assert update.masklets[0].keep_alive == 3


def test_nobody() -> None:
    nothing = np.zeros(0, np.bool_)
    update = advance([], seen_as(np.zeros((2, 0), np.bool_), nothing, nothing), 5, False, CONFIG)
    assert update.masklets == ()
    assert update.removed.shape == update.hidden.shape == update.newly_confirmed.shape == (0,)


# --- as plain data --------------------------------------------------------------------------------


def full_record() -> Masklet:
    return Masklet(
        obj_id=4,
        prompt_id=2,
        first_frame=7,
        origin=Origin.USER,
        confirmed=False,
        keep_alive=-1,
        num_unmatched=3,
        last_occluded=12,
        last_detection_score=0.25,
        last_seen=Sighting(11, BOX),
        duplicates={1: 2, 3: 1},
    )


@pytest.mark.parametrize("masklet", [full_record(), started()])
def test_records_survive_json(masklet: Masklet) -> None:
    assert Masklet.from_dict(masklet.to_dict()) == masklet
    assert Masklet.from_dict(json.loads(json.dumps(masklet.to_dict()))) == masklet


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"origin": "nobody"}, "malformed"),
        ({"duplicates": [1]}, "malformed"),
        ({"last_seen": {"frame_index": 3}}, "malformed"),
        ({"last_seen": {"frame_index": 3, "box": [0.0, 1.0]}}, "malformed"),
        ({"duplicates": {"x": 1}}, "malformed"),
        ({"extra": 1}, "extra"),
    ],
)
def test_malformed_records_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        Masklet.from_dict({**full_record().to_dict(), **change})


def test_records_that_lack_a_field_are_refused() -> None:
    values = full_record().to_dict()
    del values["keep_alive"]
    with pytest.raises(CheckpointError, match="must have"):
        Masklet.from_dict(values)
