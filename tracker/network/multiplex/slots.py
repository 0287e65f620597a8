"""Which object sits in which slot of which bucket. Pure: no network, no time.

Sixteen objects share a bucket, each in a slot of its own. A slot is free, holds an object, or held
one that was removed: what the memories hold of that one is still there, so the slot stays shut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.errors import CheckpointError, InputError

FREE = -1
REMOVED = -1116
"""As in the original; any negative number but ``FREE`` would do."""

Bucket: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SlotTable:
    """The slots of some buckets.

    Attributes:
        buckets: for each bucket, for each slot, the number of the object in it, ``FREE`` or
            ``REMOVED``. Objects are numbered from 0 without gaps.
    """

    buckets: tuple[Bucket, ...] = ()

    def __post_init__(self) -> None:
        held = sorted(slot for bucket in self.buckets for slot in bucket if slot >= 0)
        odd = [s for b in self.buckets for s in b if s < 0 and s not in (FREE, REMOVED)]
        if held != list(range(len(held))) or odd or len({len(b) for b in self.buckets}) > 1:
            raise CheckpointError(f"slots {self.buckets} are not those of numbered objects")

    @classmethod
    def holding(cls, num_objects: int, num_slots: int) -> SlotTable:
        """So many objects in as few buckets as hold them, in order."""
        numbers = list(range(num_objects)) + [FREE] * (-num_objects % num_slots)
        starts = range(0, len(numbers), num_slots)
        return cls(tuple(tuple(numbers[start : start + num_slots]) for start in starts))

    @property
    def num_objects(self) -> int:
        """Objects in all buckets."""
        return sum(slot >= 0 for bucket in self.buckets for slot in bucket)

    @property
    def num_free(self) -> int:
        """Free slots in all buckets."""
        return sum(slot == FREE for bucket in self.buckets for slot in bucket)

    def is_live(self) -> NDArray[np.bool_]:
        """(B, M) bool: an object is in the slot."""
        return self._numbers() >= 0

    def _numbers(self) -> NDArray[np.int64]:
        """(B, M) int64, what is in the slots."""
        return np.array(self.buckets, dtype=np.int64).reshape(self.size)

    @property
    def size(self) -> tuple[int, int]:
        """(B, M): buckets, and slots of each."""
        return len(self.buckets), len(self.buckets[0]) if self.buckets else 0

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bucket and slot of each object, both (N,) int64."""
        buckets, slots = np.nonzero(self.is_live())
        order = np.argsort(self._numbers()[buckets, slots])
        return buckets[order], slots[order]

    def add(self, num_objects: int) -> SlotTable:
        """The table with more objects, numbered on, in the first free slots.

        Raises:
            InputError: there are too few free slots.
        """
        if num_objects > self.num_free:
            raise InputError(f"{num_objects} objects for {self.num_free} free slots")
        first = self.num_objects
        numbers = iter(range(first, first + num_objects))
        return SlotTable(
            tuple(
                tuple(next(numbers, FREE) if slot == FREE else slot for slot in bucket)
                for bucket in self.buckets
            )
        )

    def remove(self, objects: Collection[int]) -> tuple[SlotTable, list[int]]:
        """The table without some objects, and the buckets that are left of it.

        Their slots stay shut, the others are numbered anew in their old order, and buckets without
        any object go.
        """
        kept = [number for number in range(self.num_objects) if number not in set(objects)]
        renumbered = {old: new for new, old in enumerate(kept)}
        buckets = [
            tuple(renumbered.get(slot, REMOVED) if slot >= 0 else slot for slot in bucket)
            for bucket in self.buckets
        ]
        left = [index for index, bucket in enumerate(buckets) if any(slot >= 0 for slot in bucket)]
        return SlotTable(tuple(buckets[index] for index in left)), left

    def only(self, number: int) -> tuple[SlotTable, int]:
        """The table of one object alone, as if all others had been removed, and its old bucket."""
        place = int(self.places()[0][number])
        others = [other for other in range(self.num_objects) if other != number]
        return self.remove(others)[0], place

    def free(self, places: Iterable[tuple[int, int]]) -> SlotTable:
        """The table with some (bucket, slot) of removed objects free again."""
        opened = set(places)
        return SlotTable(
            tuple(
                tuple(
                    FREE if value == REMOVED and (index, slot) in opened else value
                    for slot, value in enumerate(bucket)
                )
                for index, bucket in enumerate(self.buckets)
            )
        )

    def mux(self, values: Tensor) -> Tensor:
        """(N, …) of objects to (B, M, …) of slots; 0 where there is no object."""
        out = values.new_zeros(*self.size, *values.shape[1:])
        buckets, slots = (torch.from_numpy(index).to(values.device) for index in self.places())
        out[buckets, slots] = values
        return out

    def demux(self, values: Tensor) -> Tensor:
        """(B, M, …) of slots to (N, …) of objects."""
        buckets, slots = (torch.from_numpy(index).to(values.device) for index in self.places())
        return values[buckets, slots]


def state_for(free_slots: Iterable[int], num_objects: int) -> int | None:
    """Of states with so many free slots each, the fullest that still holds all new objects."""
    fitting = [(free, index) for index, free in enumerate(free_slots) if free >= num_objects]
    return min(fitting)[1] if fitting else None
