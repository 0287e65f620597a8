"""Which frame sits in which slot of the memory bank, and which slots a look-up wants.

numpy only, and vectorised over masklets: what a masklet remembers is known on the CPU, so that
nothing here ever waits for a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

NO_FRAME = np.iinfo(np.int64).min
FAR = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Lookup:
    """Slots wanted of n rows. Those that hold something come first in a row.

    Attributes:
        slots: (n, k) int64; 0 where not valid.
        offsets: (n, k) int64, distance in frames; 0 where not valid.
        valid: (n, k) bool; k is the most that any row has.
    """

    slots: IntArray
    offsets: IntArray
    valid: BoolArray


class MemoryIndex:
    """The slots of all rows.

    Map slots of a row are ``num_conditioning`` for conditioning frames, then a ring of
    ``num_recent_maps``; pointer slots are the same with a ring of ``num_recent_pointers``. A
    ring keeps frame f in its slot f mod length, and the slot counts only while it says f.
    """

    def __init__(self, num_conditioning: int, num_recent_maps: int, num_recent_pointers: int):
        self.num_conditioning = num_conditioning
        self.num_recent_maps = num_recent_maps
        self.num_recent_pointers = num_recent_pointers
        self.sequence = 0  # counts writes, so that the oldest entry can be told
        self.tables = {name: np.zeros((0, width), np.int64) for name, width in self.widths.items()}

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each table. Entries are frame indices, or ``sequence`` at the time."""
        return {
            "cond_frames": self.num_conditioning,
            "cond_sequence": self.num_conditioning,
            "map_frames": self.num_recent_maps,
            "pointer_frames": self.num_recent_pointers,
        }

    def __len__(self) -> int:
        return len(self.tables["cond_frames"])

    def append(self, n: int) -> None:
        for name, table in self.tables.items():
            empty = np.full((n, table.shape[1]), NO_FRAME, np.int64)
            self.tables[name] = np.concatenate((table, empty))

    def keep(self, rows: BoolArray) -> None:
        self.tables = {name: table[rows] for name, table in self.tables.items()}

    def without_conditioning(self, rows: IntArray) -> IntArray:
        """Those of the rows that have no conditioning frame."""
        bare: IntArray = rows[(self.tables["cond_frames"][rows] == NO_FRAME).all(1)]
        return bare

    def filled(self) -> tuple[BoolArray, BoolArray]:
        """(rows, slots) of maps and of pointers: the slot holds something."""
        cond = self.tables["cond_frames"]
        maps = np.concatenate((cond, self.tables["map_frames"]), 1) != NO_FRAME
        pointers = np.concatenate((cond, self.tables["pointer_frames"]), 1) != NO_FRAME
        return maps, pointers

    # --------------------------------------------------------------- writing

    def forget_recent(self, rows: IntArray) -> None:
        """Empty the rings of these rows."""
        for name in ("map_frames", "pointer_frames"):
            self.tables[name][rows] = NO_FRAME

    def find(self, rows: IntArray, frame_index: int) -> tuple[BoolArray, BoolArray]:
        """Where rows keep a frame: (n, K) in which conditioning slot, (n,) in the rings."""
        cond = self.tables["cond_frames"][rows] == frame_index
        in_rings = np.ones(len(rows), np.bool_)
        for name in ("map_frames", "pointer_frames"):
            ring = self.tables[name]
            in_rings &= ring[rows, frame_index % ring.shape[1]] == frame_index
        return cond, in_rings

    def slots_of(self, row: int, frame_index: int) -> tuple[int | None, int | None]:
        """Where the rings of a row keep a frame: the slots of its map and of its pointer."""
        found = []
        for name in ("map_frames", "pointer_frames"):
            ring = self.tables[name][row]
            place = frame_index % len(ring)
            there = frame_index >= 0 and ring[place] == frame_index
            found.append(self.num_conditioning + place if there else None)
        return found[0], found[1]

    def ring_slots(self, frame_index: int) -> tuple[int, int]:
        """The slots of a frame in the ring of maps and in that of pointers."""
        return (
            self.num_conditioning + frame_index % self.num_recent_maps,
            self.num_conditioning + frame_index % self.num_recent_pointers,
        )

    def book(
        self, rows: IntArray, frame_index: int, conditioning: bool
    ) -> tuple[IntArray, IntArray]:
        """Enter a frame into rows; returns the slots for its maps and its pointers, both (n,)."""
        cond_frames, cond_sequence = self.tables["cond_frames"], self.tables["cond_sequence"]
        known = cond_frames[rows] == frame_index
        into_cond = known.any(1) | conditioning
        slots = np.where(known.any(1), known.argmax(1), self._slot_to_fill(rows))

        added, added_slots = rows[into_cond], slots[into_cond]
        new = cond_frames[added, added_slots] != frame_index
        cond_frames[added, added_slots] = frame_index
        cond_sequence[added[new], added_slots[new]] = self.sequence
        self.sequence += 1
        for name in ("map_frames", "pointer_frames"):
            ring = self.tables[name]
            slot = frame_index % ring.shape[1]
            # A frame that has become a conditioning frame leaves the ring.
            ring[added[ring[added, slot] == frame_index], slot] = NO_FRAME
            ring[rows[~into_cond], slot] = frame_index
        map_slot, pointer_slot = self.ring_slots(frame_index)
        return np.where(into_cond, slots, map_slot), np.where(into_cond, slots, pointer_slot)

    def _slot_to_fill(self, rows: IntArray) -> IntArray:
        """The slot for one more conditioning frame: an empty one, else the oldest but the first."""
        order = self.tables["cond_sequence"][rows].copy()
        full = (order != NO_FRAME).all(1)
        order[full, order[full].argmin(1)] = FAR
        slots: IntArray = order.argmin(1)
        return slots

    # --------------------------------------------------------------- reading

    def maps(self, rows: IntArray, frame_index: int, *, reverse: bool, most: int) -> Lookup:
        """Conditioning frames (offset 0), at most ``most``, and recent frames (offsets 1, 2, …)."""
        frames, ring = self.tables["cond_frames"][rows], self.tables["map_frames"][rows]
        selected = self.select_conditioning(rows, frame_index, most)
        back = np.arange(self.num_recent_maps - 1, 0, -1)
        wanted = frame_index + back if reverse else frame_index - back
        place = wanted % self.num_recent_maps
        in_ring = (ring[:, place] == wanted) & (wanted >= 0)
        left_over = (frames != NO_FRAME) & ~selected
        as_cond = (frames[:, None, :] == wanted[None, :, None]) & left_over[:, None, :]
        slots = np.where(in_ring, self.num_conditioning + place[None], as_cond.argmax(2))
        n, num_cond = frames.shape
        return _pack(
            np.concatenate((np.tile(np.arange(num_cond), (n, 1)), slots), 1),
            np.concatenate((np.zeros((n, num_cond), np.int64), np.tile(back, (n, 1))), 1),
            np.concatenate((selected, in_ring | as_cond.any(2)), 1),
        )

    def select_conditioning(self, rows: IntArray, frame_index: int, most: int) -> BoolArray:
        """(n, K): the conditioning frames whose maps are looked at; all where ``most`` is -1."""
        frames = self.tables["cond_frames"][rows]
        there: BoolArray = frames != NO_FRAME
        if most == -1 or not (there.sum(1) > most).any():
            return there
        distance = np.abs(np.where(there, frames, 0) - frame_index)
        distance[~there] = FAR
        everyone = np.arange(len(rows))
        for side in (there & (frames < frame_index), there & (frames >= frame_index)):
            nearest = np.where(side, distance, FAR).argmin(1)
            has_one = side.any(1)
            distance[everyone[has_one], nearest[has_one]] = -1
        order = np.lexsort((self.tables["cond_sequence"][rows], distance))
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(frames.shape[1])[None], 1)
        selected: BoolArray = there & (rank < most)
        return selected

    def pointers(self, rows: IntArray, frame_index: int, *, reverse: bool, reach: int) -> Lookup:
        """All conditioning frames not ahead, and recent other frames less than ``reach`` back."""
        frames, ring = self.tables["cond_frames"][rows], self.tables["pointer_frames"][rows]
        there = frames != NO_FRAME
        sign = -1 if reverse else 1
        distance = (frame_index - np.where(there, frames, 0)) * sign
        back = np.arange(1, reach)
        wanted = frame_index - sign * back
        place = wanted % self.num_recent_pointers
        in_ring = (ring[:, place] == wanted) & (wanted >= 0)
        n, num_cond = frames.shape
        return _pack(
            np.tile(np.concatenate((np.arange(num_cond), num_cond + place)), (n, 1)),
            np.concatenate((distance, np.tile(back, (n, 1))), 1),
            np.concatenate((there & (distance >= 0), in_ring), 1),
        )


def _pack(slots: IntArray, offsets: IntArray, valid: BoolArray) -> Lookup:
    """Bring valid entries to the front of each row and cut off columns that nobody fills."""
    most = int(valid.sum(1).max(initial=0))
    order = np.argsort(~valid, axis=1, kind="stable")[:, :most]
    valid = np.take_along_axis(valid, order, 1)
    # An entry that is not valid points at slot 0, offset 0: harmless and in range.
    return Lookup(
        slots=np.where(valid, np.take_along_axis(slots, order, 1), 0),
        offsets=np.where(valid, np.take_along_axis(offsets, order, 1), 0),
        valid=valid,
    )
