"""Frames that are left out cost the tracker no memory, and results tell the decoder's indices."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.video.frame_numbers import FrameNumbers
from tests.pipeline.frame_results import make_result


def result(number: int, first: dict[int, int]) -> FrameResult:
    """Objects with the numbers of their first frames."""
    made = make_result(number, list(first))
    return replace(made, first_frames=np.array(list(first.values()), np.int64))


def told(found: FrameResult) -> tuple[int, list[int]]:
    return found.frame_index, found.first_frames.tolist()


def test_numbers_are_consecutive_and_results_are_translated() -> None:
    numbers = FrameNumbers()
    assert [numbers.number(index) for index in (3, 8, 13, 20)] == [0, 1, 2, 3]
    assert told(numbers.translate(result(0, {}))) == (3, [])
    assert told(numbers.translate(result(1, {5: 1, 6: 0}))) == (8, [8, 3])
    assert told(numbers.translate(result(3, {6: 0, 5: 1, 7: 3}))) == (20, [3, 8, 20])


def test_where_an_object_began_is_known_for_good_and_memory_is_not_taken_for_ever() -> None:
    numbers = FrameNumbers()
    for number in range(5000):
        assert numbers.number(number * 7) == number
        if number % 1000 == 0:
            numbers.translate(result(number, {0: 0}))
    assert told(numbers.translate(result(4999, {0: 0}))) == (4999 * 7, [0])
    # One that was never shown before, and began too long ago: the first that is known.
    assert told(numbers.translate(result(4999, {1: 2}))) == (4999 * 7, [4999 * 7])
    for obj_id in range(2, 12_000):
        numbers.translate(result(4999, {obj_id: 4999}))
    assert len(json.dumps(numbers.to_state())) < 400_000
    with pytest.raises(KeyError):
        numbers.translate(result(10, {}))


def test_a_checkpoint_goes_on_where_it_was() -> None:
    numbers = FrameNumbers()
    for index in (3, 8, 13):
        numbers.number(index)
    numbers.translate(result(1, {5: 1}))
    again = FrameNumbers.from_state(json.loads(json.dumps(numbers.to_state())))
    assert again.number(30) == numbers.number(30) == 3
    assert told(again.translate(result(3, {5: 1}))) == (30, [8])
