"""The memory bank: what every masklet of a session remembers, in fixed space.

One row per masklet. A row holds

- conditioning frames, up to ``max_conditioning_frames``, each with its memory map and pointer;
- the maps of the last ``num_maskmem`` other frames and the pointers of the last
  ``max_object_pointers_in_encoder``, each in a ring: the entry of frame f sits in slot
  f mod length and counts only while the slot still says f.

So a look-up costs the same at frame ten and at frame ten million, whichever way the video is
played, and a jump to another frame finds nothing that is not really a neighbour. Which entries are
there is known on the CPU alone (numpy), so nothing here waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import CheckpointError, ConfigError, InputError, SessionError
from tracker.config import TrackerConfig

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = Sequence[int] | IntArray | Tensor

NO_FRAME = np.iinfo(np.int64).min
FAR = np.iinfo(np.int64).max
MIN_CAPACITY = 4


@dataclass(frozen=True, slots=True)
class MemoryBatch:
    """What N masklets remember, as memory attention takes it. Valid entries come first in a row.

    Attributes:
        maps: (N, T, h*w, M), memory maps; T is the most that any of the masklets has.
        map_offsets: (N, T) int64, 0 = conditioning frame, else how many frames back, from 1 to
            num_maskmem - 1.
        map_valid: (N, T) bool.
        pointers: (N, P, C), object pointers.
        pointer_offsets: (N, P) float, distance in frames ÷ (max_object_pointers_in_encoder - 1).
        pointer_valid: (N, P) bool.
        full: every entry is valid, so no mask is needed. Known without asking the device.
    """

    maps: Tensor
    map_offsets: Tensor
    map_valid: Tensor
    pointers: Tensor
    pointer_offsets: Tensor
    pointer_valid: Tensor
    full: bool = False

    def __len__(self) -> int:
        return self.maps.shape[0]


class MemoryBank:
    """Memories of all masklets of a session.

    Conditioning frames are bounded: when a row has ``max_conditioning_frames`` and gets another,
    the one that was added longest ago goes, except the very first, which is what the masklet was
    started from and stays for good.

    Rows are numbered 0 … num_rows - 1 in the order they were appended; removing some moves the
    others up. Storage behind them grows and shrinks by rows only.

    Args:
        config: the tracker's configuration.
        grid: (h, w) of a memory map, cells.
        max_conditioning_frames: conditioning frames kept per masklet.
        device: where maps and pointers live.
        pointer_dtype: of stored pointers; maps are bfloat16, as in the released model.

    Raises:
        ConfigError: fewer than 2 conditioning frames.
    """

    def __init__(
        self,
        config: TrackerConfig,
        grid: tuple[int, int],
        *,
        max_conditioning_frames: int = 8,
        device: torch.device | str = "cpu",
        pointer_dtype: torch.dtype = torch.float32,
    ) -> None:
        if max_conditioning_frames < 2:
            raise ConfigError(
                f"max_conditioning_frames is {max_conditioning_frames}; it must be at least 2: the "
                "first one is never dropped"
            )
        self.config = config
        self.num_conditioning = max_conditioning_frames
        self.num_recent_maps = config.num_maskmem
        self.num_recent_pointers = config.max_object_pointers_in_encoder
        self.device = torch.device(device)
        cells = grid[0] * grid[1]
        self._map_shape = (cells, config.memory_encoder_output_channels)
        self._pointer_size = config.fpn_hidden_size
        self._pointer_dtype = pointer_dtype
        self._sequence = 0
        self._allocate(0)
        # Of each row: its place in storage, and which frame sits in which slot.
        self._place = np.zeros(0, np.int64)
        self._cond_frames = np.zeros((0, self.num_conditioning), np.int64)
        self._cond_sequence = np.zeros((0, self.num_conditioning), np.int64)
        self._map_frames = np.zeros((0, self.num_recent_maps), np.int64)
        self._pointer_frames = np.zeros((0, self.num_recent_pointers), np.int64)

    # ------------------------------------------------------------------ rows

    @property
    def num_rows(self) -> int:
        """Masklets in the bank."""
        return len(self._place)

    @property
    def capacity(self) -> int:
        """Rows that storage has room for."""
        return self._maps.shape[0]

    def __len__(self) -> int:
        return self.num_rows

    def append_rows(self, n: int) -> None:
        """Add ``n`` empty rows after the last."""
        total = self.num_rows + n
        if total > self.capacity:
            self._repack(max(total, self.capacity + self.capacity // 2, MIN_CAPACITY))
        free = np.setdiff1d(np.arange(self.capacity), self._place)[:n]
        self._place = np.concatenate((self._place, free))
        for name in ("_cond_frames", "_cond_sequence", "_map_frames", "_pointer_frames"):
            old = getattr(self, name)
            empty = np.full((n, old.shape[1]), NO_FRAME, np.int64)
            setattr(self, name, np.concatenate((old, empty)))

    def remove_rows(self, rows: Rows) -> None:
        """Remove rows; the others keep their order and move up.

        Raises:
            InputError: a row that isn't there.
        """
        keep = np.ones(self.num_rows, bool)
        keep[self._rows(rows)] = False
        for name in ("_place", "_cond_frames", "_cond_sequence", "_map_frames", "_pointer_frames"):
            setattr(self, name, getattr(self, name)[keep])
        if self.capacity > MIN_CAPACITY and self.num_rows <= self.capacity // 4:
            self._repack(max(2 * self.num_rows, MIN_CAPACITY) if self.num_rows else 0)

    def _allocate(self, capacity: int) -> None:
        num_maps = self.num_conditioning + self.num_recent_maps
        num_pointers = self.num_conditioning + self.num_recent_pointers
        self._maps = torch.zeros(
            capacity, num_maps, *self._map_shape, dtype=torch.bfloat16, device=self.device
        )
        self._pointers = torch.zeros(
            capacity, num_pointers, self._pointer_size,
            dtype=self._pointer_dtype, device=self.device,
        )  # fmt: skip

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
        if picked.size and not (0 <= picked.min() and picked.max() < self.num_rows):
            raise InputError(
                f"memory bank rows {picked.tolist()} asked for; there are {self.num_rows}, from 0"
            )
        return picked

    def _upload(self, values: IntArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)

    # --------------------------------------------------------------- writing

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
            rows: n rows.
            frame_index: the frame, 0-based.
            maps: (n, h*w, M).
            pointers: (n, C).
            conditioning: the frame becomes a conditioning frame.

        Raises:
            InputError: rows that aren't there, or tensors of another shape.
        """
        picked = self._rows(rows)
        self._check_shape("maps", maps, (len(picked), *self._map_shape))
        self._check_shape("pointers", pointers, (len(picked), self._pointer_size))
        if not len(picked):
            return
        map_slots, pointer_slots = self._slots_to_write(picked, frame_index, conditioning)
        place = self._place[picked]
        self._put(self._maps, place, map_slots, maps)
        self._put(self._pointers, place, pointer_slots, pointers)

    def write_maps(self, rows: Rows, frame_index: int, maps: Tensor) -> None:
        """Replace the maps, not the pointers, of the entry that each row has of a frame.

        Args:
            rows: n rows.
            frame_index: the frame, 0-based.
            maps: (n, h*w, M).

        Raises:
            InputError: a row that isn't there or has no entry of that frame; another shape.
        """
        picked = self._rows(rows)
        self._check_shape("maps", maps, (len(picked), *self._map_shape))
        if not len(picked):
            return
        cond, recent = self._find(picked, frame_index)
        missing = picked[~(cond.any(1) | recent)]
        if missing.size:
            raise InputError(f"rows {missing.tolist()} have no memory of frame {frame_index}")
        ring = self.num_conditioning + frame_index % self.num_recent_maps
        slots = np.where(cond.any(1), cond.argmax(1), ring)
        self._put(self._maps, self._place[picked], slots, maps)

    def make_conditioning(self, rows: Rows, frame_index: int) -> None:
        """Turn the entry that each row has of a frame into a conditioning frame.

        Raises:
            InputError: a row that isn't there or has no entry of that frame.
        """
        picked = self._rows(rows)
        cond, recent = self._find(picked, frame_index)
        missing = picked[~(cond.any(1) | recent)]
        if missing.size:
            raise InputError(f"rows {missing.tolist()} have no memory of frame {frame_index}")
        moved = picked[~cond.any(1)]
        if not len(moved):
            return
        place = self._upload(self._place[moved])
        ring = self.num_conditioning
        maps = self._maps[place, ring + frame_index % self.num_recent_maps]
        pointers = self._pointers[place, ring + frame_index % self.num_recent_pointers]
        self.write(moved, frame_index, maps, pointers, conditioning=True)

    def _find(self, rows: IntArray, frame_index: int) -> tuple[BoolArray, BoolArray]:
        """Where rows keep a frame: (n, K) conditioning slot, (n,) in the rings."""
        cond = self._cond_frames[rows] == frame_index
        in_maps = self._map_frames[rows, frame_index % self.num_recent_maps] == frame_index
        in_pointers = (
            self._pointer_frames[rows, frame_index % self.num_recent_pointers] == frame_index
        )
        return cond, in_maps & in_pointers

    def _slots_to_write(
        self, rows: IntArray, frame_index: int, conditioning: bool
    ) -> tuple[IntArray, IntArray]:
        """Book a frame into rows; returns the slots for its maps and its pointers, both (n,)."""
        first_ring = self.num_conditioning
        map_ring = frame_index % self.num_recent_maps
        pointer_ring = frame_index % self.num_recent_pointers
        known = self._cond_frames[rows] == frame_index
        into_cond = known.any(1) | conditioning
        slots = np.where(known.any(1), known.argmax(1), self._cond_slot_to_fill(rows))

        added = rows[into_cond]
        added_slots = slots[into_cond]
        new = self._cond_frames[added, added_slots] != frame_index
        self._cond_frames[added, added_slots] = frame_index
        self._cond_sequence[added[new], added_slots[new]] = self._sequence
        self._sequence += 1
        # The ring forgets a frame that has become a conditioning frame.
        for frames, slot in ((self._map_frames, map_ring), (self._pointer_frames, pointer_ring)):
            stale = added[frames[added, slot] == frame_index]
            frames[stale, slot] = NO_FRAME
            frames[rows[~into_cond], slot] = frame_index
        return (
            np.where(into_cond, slots, first_ring + map_ring),
            np.where(into_cond, slots, first_ring + pointer_ring),
        )

    def _cond_slot_to_fill(self, rows: IntArray) -> IntArray:
        """The slot for one more conditioning frame: an empty one, else the oldest but the first."""
        order = self._cond_sequence[rows].copy()
        full = (order != NO_FRAME).all(1)
        order[full, order[full].argmin(1)] = FAR
        return order.argmin(1)

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

    # --------------------------------------------------------------- reading

    def gather(
        self,
        frame_index: int,
        *,
        reverse: bool,
        rows: Rows | None = None,
        num_frames: int | None = None,
    ) -> MemoryBatch:
        """What the rows remember when they look at a frame.

        Maps: up to ``max_cond_frame_num`` conditioning frames (the nearest before, the nearest at
        or after, then the nearest of the rest), and the frames 1 … num_maskmem - 1 back in the
        direction of play, conditioning frames that weren't picked among them. Pointers: those of
        all conditioning frames not ahead of ``frame_index``, and of the recent other frames.

        Args:
            frame_index: the frame that is to be segmented.
            reverse: the video is played backwards: memory lies at higher frame indices.
            rows: which rows, in which order; None for all.
            num_frames: frames of the whole video where it is short. transformers reaches back
                fewer pointers, and divides their offsets by less, in videos of fewer than
                ``max_object_pointers_in_encoder`` frames; give the number to do the same.

        Raises:
            InputError: a row that isn't there.
            SessionError: a row without any conditioning frame.
        """
        picked = self._rows(rows)
        empty = picked[(self._cond_frames[picked] == NO_FRAME).all(1)]
        if empty.size:
            raise SessionError(
                f"rows {empty.tolist()} have no conditioning frame; write one before propagating"
            )
        reach = self.num_recent_pointers
        if num_frames is not None:
            reach = max(2, min(reach, num_frames))
        maps, map_offsets, map_valid = self._gather_maps(picked, frame_index, reverse)
        pointers, offsets, pointer_valid = self._gather_pointers(
            picked, frame_index, reverse, reach
        )
        return MemoryBatch(
            maps=maps,
            map_offsets=self._upload(map_offsets),
            map_valid=torch.from_numpy(map_valid).to(self.device, non_blocking=True),
            pointers=pointers,
            pointer_offsets=self._upload(offsets).float() / (reach - 1),
            pointer_valid=torch.from_numpy(pointer_valid).to(self.device, non_blocking=True),
            full=bool(map_valid.all() and pointer_valid.all()),
        )

    def _gather_maps(
        self, rows: IntArray, frame_index: int, reverse: bool
    ) -> tuple[Tensor, IntArray, BoolArray]:
        frames = self._cond_frames[rows]
        selected = self._select_conditioning(rows, frame_index)
        back = np.arange(self.config.num_maskmem - 1, 0, -1)
        wanted = frame_index + back if reverse else frame_index - back
        ring = wanted % self.num_recent_maps
        in_ring = (self._map_frames[rows][:, ring] == wanted) & (wanted >= 0)
        unselected = (frames != NO_FRAME) & ~selected
        as_cond = (frames[:, None, :] == wanted[None, :, None]) & unselected[:, None, :]
        slots = np.where(
            in_ring, self.num_conditioning + ring[None], as_cond.argmax(2)
        )
        n, num_cond = frames.shape
        slots = np.concatenate((np.tile(np.arange(num_cond), (n, 1)), slots), 1)
        offsets = np.concatenate((np.zeros((n, num_cond), np.int64), np.tile(back, (n, 1))), 1)
        valid = np.concatenate((selected, in_ring | as_cond.any(2)), 1)
        slots, offsets, valid = _pack(slots, offsets, valid)
        return self._take(self._maps, rows, slots), offsets, valid

    def _select_conditioning(self, rows: IntArray, frame_index: int) -> BoolArray:
        """(n, K): the conditioning frames whose maps are looked at."""
        frames = self._cond_frames[rows]
        there = frames != NO_FRAME
        most = self.config.max_cond_frame_num
        if most == -1 or not (there.sum(1) > most).any():
            return there
        distance = np.abs(np.where(there, frames, 0) - frame_index)
        distance[~there] = FAR
        everyone = np.arange(len(rows))
        for side in (there & (frames < frame_index), there & (frames >= frame_index)):
            nearest = np.where(side, distance, FAR).argmin(1)
            has_one = side.any(1)
            distance[everyone[has_one], nearest[has_one]] = -1
        order = np.lexsort((self._cond_sequence[rows], distance))
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(frames.shape[1])[None], 1)
        selected: BoolArray = there & (rank < most)
        return selected

    def _gather_pointers(
        self, rows: IntArray, frame_index: int, reverse: bool, reach: int
    ) -> tuple[Tensor, IntArray, BoolArray]:
        frames = self._cond_frames[rows]
        there = frames != NO_FRAME
        sign = -1 if reverse else 1
        distance = (frame_index - np.where(there, frames, 0)) * sign
        back = np.arange(1, reach)
        wanted = frame_index - sign * back
        ring = wanted % self.num_recent_pointers
        in_ring = (self._pointer_frames[rows][:, ring] == wanted) & (wanted >= 0)
        n, num_cond = frames.shape
        slots = np.tile(np.concatenate((np.arange(num_cond), num_cond + ring)), (n, 1))
        offsets = np.concatenate((distance, np.tile(back, (n, 1))), 1)
        valid = np.concatenate((there & (distance >= 0), in_ring), 1)
        slots, offsets, valid = _pack(slots, offsets, valid)
        return self._take(self._pointers, rows, slots), offsets, valid

    def _take(self, storage: Tensor, rows: IntArray, slots: IntArray) -> Tensor:
        """(n, k, …) entries of storage."""
        flat = storage.flatten(0, 1)
        index = self._place[rows][:, None] * storage.shape[1] + slots
        return flat.index_select(0, self._upload(index.reshape(-1))).unflatten(0, index.shape)

    # ----------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything as plain tensors and ints on the CPU; only entries that exist are included."""
        map_valid, pointer_valid = self._valid()
        place = self._upload(self._place)
        return {
            "sequence": self._sequence,
            "cond_frames": torch.from_numpy(self._cond_frames.copy()),
            "cond_sequence": torch.from_numpy(self._cond_sequence.copy()),
            "map_frames": torch.from_numpy(self._map_frames.copy()),
            "pointer_frames": torch.from_numpy(self._pointer_frames.copy()),
            "maps": self._maps[place].cpu()[torch.from_numpy(map_valid)],
            "pointers": self._pointers[place].cpu()[torch.from_numpy(pointer_valid)],
        }

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Take over what :meth:`state_dict` of a bank of the same configuration gave.

        Raises:
            CheckpointError: an entry is missing or doesn't fit; the bank is left as it was.
        """
        tables = {
            "cond_frames": self.num_conditioning,
            "cond_sequence": self.num_conditioning,
            "map_frames": self.num_recent_maps,
            "pointer_frames": self.num_recent_pointers,
        }
        wanted = {*tables, "maps", "pointers", "sequence"}
        if set(state) != wanted:
            raise CheckpointError(f"memory bank with {sorted(state)}; it must have {sorted(wanted)}")
        num_rows = len(_tensor(state, "cond_frames"))
        arrays = {}
        for name, width in tables.items():
            table = _tensor(state, name)
            if table.shape != (num_rows, width) or table.dtype != torch.int64:
                raise CheckpointError(
                    f"memory bank: {name} of shape {tuple(table.shape)}, {table.dtype}; it must be "
                    f"{(num_rows, width)}, int64"
                )
            arrays[name] = table.cpu().numpy().copy()
        map_valid, pointer_valid = (
            np.concatenate((arrays["cond_frames"], arrays[ring]), 1) != NO_FRAME
            for ring in ("map_frames", "pointer_frames")
        )
        maps, pointers = _tensor(state, "maps"), _tensor(state, "pointers")
        for what, value, shape in (
            ("maps", maps, (int(map_valid.sum()), *self._map_shape)),
            ("pointers", pointers, (int(pointer_valid.sum()), self._pointer_size)),
        ):
            if tuple(value.shape) != shape:
                raise CheckpointError(
                    f"memory bank: {what} of shape {tuple(value.shape)}; they must be {shape}"
                )
        self._allocate(num_rows)
        self._place = np.arange(num_rows)
        self._maps[torch.from_numpy(map_valid).to(self.device)] = maps.to(self._maps)
        self._pointers[torch.from_numpy(pointer_valid).to(self.device)] = pointers.to(self._pointers)
        self._cond_frames, self._cond_sequence = arrays["cond_frames"], arrays["cond_sequence"]
        self._map_frames, self._pointer_frames = arrays["map_frames"], arrays["pointer_frames"]
        self._sequence = int(state["sequence"])

    def _valid(self) -> tuple[BoolArray, BoolArray]:
        """(rows, slots) of maps and of pointers: the slot holds something."""
        maps = np.concatenate((self._cond_frames, self._map_frames), 1) != NO_FRAME
        pointers = np.concatenate((self._cond_frames, self._pointer_frames), 1) != NO_FRAME
        return maps, pointers


def _pack(
    slots: IntArray, offsets: IntArray, valid: BoolArray
) -> tuple[IntArray, IntArray, BoolArray]:
    """Bring valid entries to the front of each row and cut off columns that nobody fills."""
    order = np.argsort(~valid, axis=1, kind="stable")
    most = int(valid.sum(1).max(initial=0))
    order = order[:, :most]
    valid = np.take_along_axis(valid, order, 1)
    # An entry that is not valid points at slot 0, offset 0: harmless and in range.
    slots = np.where(valid, np.take_along_axis(slots, order, 1), 0)
    offsets = np.where(valid, np.take_along_axis(offsets, order, 1), 0)
    return slots, offsets, valid


def _tensor(state: dict[str, Tensor | int], name: str) -> Tensor:
    value = state[name]
    if not isinstance(value, Tensor):
        raise CheckpointError(f"memory bank: {name} is {type(value).__name__}; it must be a tensor")
    return value
