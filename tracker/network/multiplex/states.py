"""Which objects share memories. Pure bookkeeping: no network, no tensors.

Objects that begin together are a state: they have the same frames to look back at. A state has one
bucket or more, and others may join it while it has free slots. Rows of objects are those of the
session; buckets are numbered over all states, in order, which is how the bank keeps them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from maskstream.core.errors import CheckpointError
from maskstream.tracker.network.multiplex.slots import SlotTable


@dataclass(frozen=True, slots=True)
class State:
    """Objects that share memories.

    Attributes:
        rows: the session's row of each object, by its number in the table.
        table: the slots of the objects.
    """

    rows: tuple[int, ...]
    table: SlotTable

    def __post_init__(self) -> None:
        if self.table.num_objects != len(self.rows):
            raise CheckpointError(f"{len(self.rows)} rows in {self.table.num_objects} slots")


@dataclass(frozen=True, slots=True)
class States:
    """All states of a session.

    Attributes:
        states: oldest first.
    """

    states: tuple[State, ...] = ()

    @property
    def num_rows(self) -> int:
        """Objects of the session."""
        return sum(len(state.rows) for state in self.states)

    @property
    def num_buckets(self) -> int:
        """Buckets of all states."""
        return sum(len(state.table.buckets) for state in self.states)

    def first_bucket(self, index: int) -> int:
        """The number of a state's first bucket."""
        return sum(len(state.table.buckets) for state in self.states[:index])

    def buckets(self, index: int) -> range:
        """The numbers of a state's buckets."""
        first = self.first_bucket(index)
        return range(first, first + len(self.states[index].table.buckets))

    def of_row(self, row: int) -> int:
        """The state that an object belongs to."""
        return next(i for i, state in enumerate(self.states) if row in state.rows)

    def join(self, index: int, rows: Sequence[int]) -> States:
        """More objects in the free slots of a state."""
        state = self.states[index]
        joined = State((*state.rows, *rows), state.table.add(len(rows)))
        return self.put(index, joined)

    def divide(
        self, open_states: Sequence[int], rows: Sequence[int]
    ) -> tuple[dict[int, list[int]], list[int]]:
        """New objects over the free slots of some states, the fullest first; and who is left."""
        parts: dict[int, list[int]] = {}
        left = list(rows)
        for index in sorted(open_states, key=lambda index: self.states[index].table.num_free):
            free = self.states[index].table.num_free
            if left and free:
                parts[index], left = left[:free], left[free:]
        return parts, left

    def put(self, index: int, state: State) -> States:
        """Another state in place of one."""
        return States((*self.states[:index], state, *self.states[index + 1 :]))

    def begin(self, rows: Sequence[int], num_slots: int) -> States:
        """A new state, behind the others."""
        return States((*self.states, State(tuple(rows), SlotTable.holding(len(rows), num_slots))))

    def extract(self, row: int) -> tuple[States, int, list[int]]:
        """One object in a state of its own, behind the others, with its slot as it was.

        Returns:
            The states, the number of the bucket that the object was in, and the numbers of the
            buckets that it leaves behind, in order.
        """
        index = self.of_row(row)
        state = self.states[index]
        number = state.rows.index(row)
        alone, bucket = state.table.only(number)
        old = self.first_bucket(index) + bucket
        rest, kept = self._taken_out({row})
        return States((*rest, State((row,), alone))), old, kept

    def remove(self, rows: Collection[int]) -> tuple[States, list[int]]:
        """The states without some objects; the rows of the others move up.

        Returns:
            The states, and the numbers of the buckets that are left, in order.
        """
        gone = set(rows)
        stay = [row for row in range(self.num_rows) if row not in gone]
        moved = {row: number for number, row in enumerate(stay)}
        rest, kept = self._taken_out(gone)
        return States(
            tuple(State(tuple(moved[row] for row in one.rows), one.table) for one in rest)
        ), kept

    def _taken_out(self, gone: Collection[int]) -> tuple[list[State], list[int]]:
        """The states without some objects, rows as they were, and the buckets that are left."""
        rest: list[State] = []
        kept: list[int] = []
        for index, state in enumerate(self.states):
            numbers = [number for number, row in enumerate(state.rows) if row in gone]
            table, left = state.table.remove(numbers)
            kept += [self.first_bucket(index) + bucket for bucket in left]
            stay = tuple(row for row in state.rows if row not in gone)
            if stay:
                rest.append(State(stay, table))
        return rest, kept
