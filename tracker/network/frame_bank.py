"""Memories of frames in rows of fixed space: a map and a pointer for each frame that is kept.

A row holds

- conditioning frames, up to so many, each with its map and pointer;
- the maps and the pointers of the most recent other frames, each in a ring.

So a look-up costs the same at frame ten and at frame ten million, whichever way the video is
played, and a jump to another frame finds nothing that is not really a neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError, ConfigError, InputError
from maskstream.tracker.network.memory_index import BoolArray, IntArray, Lookup, MemoryIndex

Rows: TypeAlias = Sequence[int] | IntArray | Tensor

MIN_CAPACITY = 4


class FrameBank:
    """Rows of memories.

    Conditioning frames are bounded: when a row has ``max_conditioning_frames`` and gets another,
    the one that was added longest ago goes, except the very first, which is what the row was
    started from and stays for good.

    Rows are numbered 0 … num_rows - 1 in the order they were appended; removing some moves the
    others up. Storage behind them grows and shrinks by rows only.

    Args:
        map_shape: of the memory map of one frame.
        pointer_shape: of the pointers of one frame.
        num_recent_maps: other frames whose maps are kept.
        num_recent_pointers: other frames whose pointers are kept.
        max_conditioning_frames: conditioning frames kept in a row.
        device: where maps and pointers live.
        map_dtype: of stored maps.
        pointer_dtype: of stored pointers.

    Raises:
        ConfigError: fewer than 2 conditioning frames.
    """

    def __init__(
        self,
        map_shape: tuple[int, ...],
        pointer_shape: tuple[int, ...],
        *,
        num_recent_maps: int,
        num_recent_pointers: int,
        max_conditioning_frames: int = 8,
        device: torch.device | str = "cpu",
        map_dtype: torch.dtype = torch.bfloat16,
        pointer_dtype: torch.dtype = torch.float32,
    ) -> None:
        if max_conditioning_frames < 2:
            raise ConfigError(
                f"max_conditioning_frames is {max_conditioning_frames}; it must be at least 2: the "
                "first one is never dropped"
            )
        self.device = torch.device(device)
        self._map_shape, self._pointer_shape = map_shape, pointer_shape
        self._map_dtype, self._pointer_dtype = map_dtype, pointer_dtype
        self._index = MemoryIndex(max_conditioning_frames, num_recent_maps, num_recent_pointers)
        self._place = np.zeros(0, np.int64)  # of each row, in storage
        self._allocate(0)

    # ------------------------------------------------------------------ rows

    @property
    def num_rows(self) -> int:
        """Masklets in the bank."""
        return len(self._place)

    @property
    def capacity(self) -> int:
        """Rows that storage has room for."""
        return self._maps.shape[0]

    @property
    def map_bytes(self) -> int:
        """What the map of one frame takes."""
        return prod(self._map_shape) * self._maps.element_size()

    def __len__(self) -> int:
        return self.num_rows

    def append_rows(self, n: int) -> None:
        """Add ``n`` empty rows after the last."""
        total = self.num_rows + n
        if total > self.capacity:
            self._repack(max(total, self.capacity + self.capacity // 2, MIN_CAPACITY))
        free = np.setdiff1d(np.arange(self.capacity), self._place)[:n]
        self._place = np.concatenate((self._place, free))
        self._index.append(n)

    def append_copy(self, row: int) -> None:
        """Add a row that remembers what another does.

        Raises:
            InputError: a row that isn't there.
        """
        (copied,) = self._rows([row])
        self.append_rows(1)
        source, target = self._place[copied], self._place[-1]
        self._maps[target] = self._maps[source]
        self._pointers[target] = self._pointers[source]
        for table in self._index.tables.values():
            table[-1] = table[copied]

    def remove_rows(self, rows: Rows) -> None:
        """Remove rows; the others keep their order and move up.

        Raises:
            InputError: a row that isn't there.
        """
        keep = np.ones(self.num_rows, np.bool_)
        keep[self._rows(rows)] = False
        self._place = self._place[keep]
        self._index.keep(keep)
        if self.capacity > MIN_CAPACITY and self.num_rows <= self.capacity // 4:
            self._repack(max(2 * self.num_rows, MIN_CAPACITY) if self.num_rows else 0)

    def _allocate(self, capacity: int) -> None:
        index = self._index
        num_maps = index.num_conditioning + index.num_recent_maps
        num_pointers = index.num_conditioning + index.num_recent_pointers
        self._maps = torch.zeros(
            (capacity, num_maps, *self._map_shape), dtype=self._map_dtype, device=self.device
        )
        self._pointers = torch.zeros(
            (capacity, num_pointers, *self._pointer_shape),
            dtype=self._pointer_dtype,
            device=self.device,
        )

    def _repack(self, capacity: int) -> None:
        """Move the rows, in order, into new storage."""
        maps, pointers, n = self._maps, self._pointers, self.num_rows
        place = self._upload(self._place)
        self._allocate(capacity)
        self._maps[:n] = maps[place]
        self._pointers[:n] = pointers[place]
        self._place = np.arange(n)

    def _rows(self, rows: Rows | None) -> IntArray:
        if rows is None:
            return np.arange(self.num_rows)
        picked = np.asarray(rows.cpu() if isinstance(rows, Tensor) else rows, dtype=np.int64)
        if picked.size and (picked.min() < 0 or picked.max() >= self.num_rows):
            raise InputError(
                f"memory bank rows {picked.tolist()} asked for; there are {self.num_rows}, from 0"
            )
        return picked

    def _upload(self, values: IntArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)

    # --------------------------------------------------------------- writing

    def forget_recent(self, rows: Rows) -> None:
        """Let go of all frames of these rows but their conditioning frames.

        Raises:
            InputError: a row that isn't there.
        """
        self._index.forget_recent(self._rows(rows))

    def write(
        self,
        rows: Rows,
        frame_index: int,
        maps: Tensor,
        pointers: Tensor,
        *,
        conditioning: bool,
    ) -> None:
        """Store one frame's memory, over what the rows already have of that frame.

        A frame that is a conditioning frame of a row stays one, whatever ``conditioning`` says.

        Args:
            rows: n rows, no row twice.
            frame_index: the frame, 0-based.
            maps: (n, …), a map each.
            pointers: (n, …), pointers each.
            conditioning: the frame becomes a conditioning frame.

        Raises:
            InputError: rows that aren't there, or tensors of another shape.
        """
        picked = self._rows(rows)
        self._check_shape("maps", maps, (len(picked), *self._map_shape))
        self._check_shape("pointers", pointers, (len(picked), *self._pointer_shape))
        if not len(picked):
            return
        map_slots, pointer_slots = self._index.book(picked, frame_index, conditioning)
        place = self._place[picked]
        self._put(self._maps, place, map_slots, maps)
        self._put(self._pointers, place, pointer_slots, pointers)

    def write_maps(self, rows: Rows, frame_index: int, maps: Tensor) -> None:
        """Replace the maps, not the pointers, of the entry that each row has of a frame.

        Args:
            rows: n rows, no row twice.
            frame_index: the frame, 0-based.
            maps: (n, …), a map each.

        Raises:
            InputError: a row that isn't there or has no entry of that frame; another shape.
        """
        picked = self._rows(rows)
        self._check_shape("maps", maps, (len(picked), *self._map_shape))
        if not len(picked):
            return
        cond_slots, in_cond = self._find(picked, frame_index)
        slots = np.where(in_cond, cond_slots, self._index.ring_slots(frame_index)[0])
        self._put(self._maps, self._place[picked], slots, maps)

    def make_conditioning(self, rows: Rows, frame_index: int) -> None:
        """Turn the entry that each row has of a frame into a conditioning frame.

        Raises:
            InputError: a row that isn't there or has no entry of that frame.
        """
        picked = self._rows(rows)
        _, in_cond = self._find(picked, frame_index)
        moved = picked[~in_cond]
        if not len(moved):
            return
        place = self._upload(self._place[moved])
        map_slot, pointer_slot = self._index.ring_slots(frame_index)
        maps, pointers = self._maps[place, map_slot], self._pointers[place, pointer_slot]
        self.write(moved, frame_index, maps, pointers, conditioning=True)

    def _find(self, rows: IntArray, frame_index: int) -> tuple[IntArray, BoolArray]:
        """Conditioning slot of a frame in each row, and whether it is in one: both (n,)."""
        cond, recent = self._index.find(rows, frame_index)
        missing = rows[~(cond.any(1) | recent)]
        if missing.size:
            raise InputError(f"rows {missing.tolist()} have no memory of frame {frame_index}")
        return cond.argmax(1), np.asarray(cond.any(1))

    def _put(self, storage: Tensor, place: IntArray, slots: IntArray, values: Tensor) -> None:
        n = len(place)
        first, slot = int(place[0]), int(slots[0])
        if (slots == slot).all() and (place == np.arange(first, first + n)).all():
            storage[first : first + n, slot] = values
        else:
            index = self._upload(np.stack((place, slots)))
            storage[index[0], index[1]] = values.to(storage.dtype)

    @staticmethod
    def _check_shape(what: str, value: Tensor, wanted: tuple[int, ...]) -> None:
        if tuple(value.shape) != wanted:
            raise InputError(f"memory {what} of shape {tuple(value.shape)}; they must be {wanted}")

    def _take(self, storage: Tensor, rows: IntArray, lookup: Lookup) -> Tensor:
        """(n, k, …) entries of storage."""
        index = self._place[rows][:, None] * storage.shape[1] + lookup.slots
        taken = storage.flatten(0, 1).index_select(0, self._upload(index.reshape(-1)))
        return taken.view(*index.shape, *storage.shape[2:])

    # ----------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Everything as plain tensors and ints on the CPU; only entries that exist are included."""
        map_filled, pointer_filled = self._index.filled()
        place = self._upload(self._place)
        tables = {name: torch.from_numpy(x.copy()) for name, x in self._index.tables.items()}
        return {
            **tables,
            "sequence": self._index.sequence,
            "maps": self._maps[place].cpu()[torch.from_numpy(map_filled)],
            "pointers": self._pointers[place].cpu()[torch.from_numpy(pointer_filled)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` of a bank of the same configuration gave.

        Raises:
            CheckpointError: an entry is missing or doesn't fit; the bank is left as it was.
        """
        old = self._index
        wanted = {*old.widths, "maps", "pointers", "sequence"}
        if set(state) != wanted:
            raise CheckpointError(
                f"memory bank with {sorted(state)}; it must have {sorted(wanted)}"
            )
        index = MemoryIndex(old.num_conditioning, old.num_recent_maps, old.num_recent_pointers)
        num_rows = len(_tensor(state, "cond_frames"))
        for name, width in old.widths.items():
            table = _tensor(state, name, (num_rows, width), torch.int64)
            index.tables[name] = table.cpu().numpy().copy()
        index.sequence = int(state["sequence"])
        map_filled, pointer_filled = (torch.from_numpy(x) for x in index.filled())
        maps = _tensor(state, "maps", (int(map_filled.sum()), *self._map_shape))
        pointers = _tensor(state, "pointers", (int(pointer_filled.sum()), *self._pointer_shape))

        self._index = index
        self._allocate(num_rows)
        self._place = np.arange(num_rows)
        self._maps[map_filled.to(self.device)] = maps.to(self._maps)
        self._pointers[pointer_filled.to(self.device)] = pointers.to(self._pointers)


def _tensor(
    state: Mapping[str, Any],
    name: str,
    shape: tuple[int, ...] | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    value = state[name]
    if not isinstance(value, Tensor):
        raise CheckpointError(f"memory bank: {name} is {type(value).__name__}; it must be a tensor")
    if (shape and tuple(value.shape) != shape) or (dtype and value.dtype != dtype):
        raise CheckpointError(
            f"memory bank: {name} of shape {tuple(value.shape)}, {value.dtype}; it must be "
            f"{shape or tuple(value.shape)}, {dtype or value.dtype}"
        )
    return value
