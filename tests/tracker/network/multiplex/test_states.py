"""States: whoever comes, goes or is taken out, each object keeps its bucket's memories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskstream.core.errors import CheckpointError
from maskstream.tracker.network.multiplex.slots import SlotTable
from maskstream.tracker.network.multiplex.states import State, States

SLOTS = 4


class Session:
    """States beside a list of buckets, each of which remembers the names that were ever in it."""

    def __init__(self) -> None:
        self.states = States()
        self.names: list[int] = []
        self.buckets: list[set[int]] = []
        self.next_name = 0

    def come(self, count: int, place: int | None) -> None:
        rows = range(len(self.names), len(self.names) + count)
        open_states = [i for i, s in enumerate(self.states.states) if s.table.num_free >= count]
        if place is None or not open_states:
            self.states = self.states.begin(rows, SLOTS)
            self.buckets += [set() for _ in range(-(-count // SLOTS))]
        else:
            self.states = self.states.join(open_states[place % len(open_states)], rows)
        self.names += range(self.next_name, self.next_name + count)
        self.next_name += count
        self.note()

    def go(self, rows: set[int]) -> None:
        self.states, kept = self.states.remove(rows)
        self.buckets = [self.buckets[bucket] for bucket in kept]
        self.names = [name for row, name in enumerate(self.names) if row not in rows]

    def take_out(self, row: int) -> None:
        if len(self.states.states[self.states.of_row(row)].rows) == 1:
            return
        self.states, bucket, kept = self.states.extract(row)
        copy = set(self.buckets[bucket])
        self.buckets = [*(self.buckets[bucket] for bucket in kept), copy]

    def note(self) -> None:
        for row, name in enumerate(self.names):
            self.buckets[self.bucket_of(row)].add(name)

    def bucket_of(self, row: int) -> int:
        index = self.states.of_row(row)
        state = self.states.states[index]
        return self.states.buckets(index)[int(state.table.places()[0][state.rows.index(row)])]

    def check(self) -> None:
        rows = sorted(row for state in self.states.states for row in state.rows)
        assert rows == list(range(len(self.names)))
        assert self.states.num_buckets == len(self.buckets) <= len(self.names)
        for row, name in enumerate(self.names):
            assert name in self.buckets[self.bucket_of(row)], "its bucket remembers it"


@given(st.data())
def test_buckets_follow_their_objects(data: st.DataObject) -> None:
    session = Session()
    for _ in range(data.draw(st.integers(1, 12))):
        count = len(session.names)
        kind = data.draw(st.sampled_from(["come", "go", "take out"] if count else ["come"]))
        if kind == "come":
            place = data.draw(st.none() | st.integers(0, 5))
            session.come(data.draw(st.integers(1, 9)), place)
        elif kind == "go":
            session.go(data.draw(st.sets(st.integers(0, count - 1))))
        else:
            session.take_out(data.draw(st.integers(0, count - 1)))
        session.check()


def test_a_group_is_divided_over_the_fullest_first() -> None:
    states = States().begin(range(3), 4).begin(range(3, 5), 4).begin(range(5, 9), 4)
    parts, left = states.divide([0, 1, 2], range(9, 14))
    assert parts == {0: [9], 1: [10, 11]}
    assert left == [
        12,
        13,
    ]


def test_rows_without_slots_are_refused() -> None:
    with pytest.raises(CheckpointError):
        State((0, 1), SlotTable.holding(3, 4))
