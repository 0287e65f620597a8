"""The slots of buckets: what goes in comes out, and nothing of the dead reaches the living."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskstream.core.errors import CheckpointError, InputError
from maskstream.tracker.network.multiplex.slots import FREE, REMOVED, SlotTable, state_for

SLOTS = 16

tables = st.integers(1, 40).flatmap(
    lambda count: st.builds(
        lambda gone, more: _changed(SlotTable.holding(count, SLOTS), gone, more),
        st.sets(st.integers(0, count - 1)),
        st.integers(0, 5),
    )
)


def _changed(table: SlotTable, gone: set[int], more: int) -> SlotTable:
    table, _ = table.remove(gone)
    return table.add(min(more, table.num_free))


@pytest.mark.parametrize(
    ("count", "buckets", "free"), [(1, 1, 15), (15, 1, 1), (16, 1, 0), (17, 2, 15), (33, 3, 15)]
)
def test_objects_fill_as_few_buckets_as_hold_them(count: int, buckets: int, free: int) -> None:
    table = SlotTable.holding(count, SLOTS)
    assert len(table.buckets) == buckets
    assert table.num_objects == count
    assert table.num_free == free
    assert [slot for bucket in table.buckets for slot in bucket] == [*range(count), *[FREE] * free]


@given(tables)
def test_what_goes_into_slots_comes_out_of_them(table: SlotTable) -> None:
    values = torch.arange(1, table.num_objects + 1).float()[:, None] * torch.tensor([1.0, -2.0])
    slots = table.mux(values)
    assert slots.shape == (len(table.buckets), SLOTS if table.buckets else 0, 2)
    assert torch.equal(table.demux(slots), values)
    if table.buckets:
        assert not slots[~torch.from_numpy(table.is_live())].any()


@given(tables, st.data())
def test_removing_numbers_the_others_anew_and_shuts_slots(
    table: SlotTable, data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.integers(0, max(table.num_objects - 1, 0))))
    gone = {number for number in gone if number < table.num_objects}
    names = torch.arange(table.num_objects).float()
    after, left = table.remove(gone)
    kept = [number for number in range(table.num_objects) if number not in gone]
    assert after.num_objects == len(kept)
    assert after.num_free == sum(table.buckets[b].count(FREE) for b in left)
    assert all(any(slot >= 0 for slot in bucket) for bucket in after.buckets)
    if kept:
        # Nobody has moved.
        stayed = table.mux(names + 1)[left] * torch.from_numpy(after.is_live())
        assert torch.equal(after.mux(torch.tensor(kept).float() + 1), stayed)
    shut = sum(bucket.count(REMOVED) for bucket in after.buckets)
    more = after.num_free
    full = after.add(more)
    assert sum(bucket.count(REMOVED) for bucket in full.buckets) == shut, "no shut slot is reused"
    with pytest.raises(InputError):
        full.add(1)


@given(tables, st.data())
def test_one_alone_keeps_its_slot(table: SlotTable, data: st.DataObject) -> None:
    if not table.num_objects:
        return
    number = data.draw(st.integers(0, table.num_objects - 1))
    alone, bucket = table.only(number)
    places = table.places()
    assert bucket == places[0][number]
    assert alone.num_objects == 1
    assert alone.places()[1][0] == places[1][number]
    was = np.array(table.buckets[bucket])
    assert np.array_equal(np.array(alone.buckets[0]) == FREE, was == FREE)


def test_sixteen_leave_at_once() -> None:
    table, left = SlotTable.holding(33, SLOTS).remove(range(16))
    assert left == [1, 2]
    assert table.buckets[0] == tuple(range(16))
    assert table.buckets[1] == (16, *[FREE] * 15)
    table, left = table.remove(range(17))
    assert (table.buckets, left) == ((), [])


def test_a_shut_slot_opens_when_it_is_said_to() -> None:
    table, _ = SlotTable.holding(16, SLOTS).remove([3, 7])
    assert table.num_free == 0
    opened = table.free([(0, 3), (0, 4)])
    assert opened.buckets[0][3] == FREE
    assert opened.buckets[0][7] == REMOVED
    assert opened.add(1).buckets[0][3] == 14


@pytest.mark.parametrize("buckets", [((0, 2),), ((0, 0),), ((0, -2),), ((0,), (1, 2))])
def test_odd_tables_are_refused(buckets: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(CheckpointError):
        SlotTable(buckets)


def test_new_objects_go_where_they_just_fit() -> None:
    for free, count in itertools.product([[13, 2, 5], [3, 2, 0], [], [16]], range(1, 18)):
        place = state_for(free, count)
        fitting = [slots for slots in free if slots >= count]
        assert (None if place is None else free[place]) == min(fitting, default=None)
    assert state_for([4, 4], 2) == 0
