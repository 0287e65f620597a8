"""What a session holds: the masklets, their memories, and what is pinned. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskstream.core.errors import CheckpointError
from maskstream.tracker.frame_memory import FrameMemory
from maskstream.tracker.lifecycle import Masklet, forget_objects
from maskstream.tracker.memory_bank import MemoryBank
from maskstream.tracker.model import TrackerModel
from maskstream.tracker.pins import Pin, Pins

STATE_VERSION = 3


class MaskletStore:
    """Record and memory of every masklet, in rows, oldest first.

    Row n of the memory bank always belongs to ``masklets[n]``, and every identity was below
    ``next_obj_id`` when it was given.
    """

    def __init__(self, model: TrackerModel) -> None:
        self._model = model
        self.device = model.no_memory_embedding.device
        self.bank = MemoryBank(model.config, model.grid, device=self.device)
        self.pins = Pins()
        self.masklets: tuple[Masklet, ...] = ()
        self.next_obj_id = 0

    def __len__(self) -> int:
        return len(self.masklets)

    def row_of(self, obj_id: int | None) -> int | None:
        """The row of a masklet, None if there is none of this identity."""
        for row, masklet in enumerate(self.masklets):
            if masklet.obj_id == obj_id:
                return row
        return None

    @property
    def num_shown(self) -> int:
        """How many masklets results tell of: all but those that are kept away."""
        return sum(masklet.is_shown for masklet in self.masklets)

    def prompt_ids(self) -> list[int]:
        """The concept of each masklet."""
        return [masklet.prompt_id for masklet in self.masklets]

    def pinned(self, frame_index: int) -> list[Pin | None]:
        """For each masklet what is pinned on a frame."""
        return self.pins.of(self.masklets, frame_index)

    def is_pinned(self, frame_index: int) -> NDArray[np.bool_]:
        """(N,) bool, the masklet is pinned on a frame."""
        return np.array([pin is not None for pin in self.pinned(frame_index)], dtype=np.bool_)

    def append(self, masklets: Sequence[Masklet], frame_index: int, memory: FrameMemory) -> None:
        """Add masklets after the others, with the memory that they start from."""
        first = self.bank.num_rows
        rows = range(first, first + len(masklets))
        self.bank.append_rows(len(masklets))
        self.bank.write(rows, frame_index, memory.maps, memory.pointers, conditioning=True)
        self.masklets = (*self.masklets, *masklets)
        for masklet in masklets:
            self.next_obj_id = max(self.next_obj_id, masklet.obj_id + 1)

    def update(self, masklets: Sequence[Masklet]) -> None:
        """Put new records in place of the first ``len(masklets)``."""
        self.masklets = (*masklets, *self.masklets[len(masklets) :])

    def replace(self, row: int, masklet: Masklet) -> None:
        """Put a new record in place of one masklet's."""
        self.masklets = (*self.masklets[:row], masklet, *self.masklets[row + 1 :])

    def draw_on(self, row: int, masklet: Masklet, frame_index: int, memory: FrameMemory) -> None:
        """Put a new record in place of one masklet's, and make a frame condition it."""
        self.bank.write([row], frame_index, memory.maps, memory.pointers, conditioning=True)
        self.replace(row, masklet)

    def drop(self, obj_ids: set[int]) -> None:
        """Forget masklets and all that refers to them."""
        if not obj_ids:
            return
        rows = [row for row, masklet in enumerate(self.masklets) if masklet.obj_id in obj_ids]
        self.bank.remove_rows(rows)
        self.pins.drop(obj_ids)
        self.masklets = tuple(
            forget_objects(masklet, obj_ids)
            for masklet in self.masklets
            if masklet.obj_id not in obj_ids
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU and plain data."""
        return {
            "version": STATE_VERSION,
            "next_obj_id": self.next_obj_id,
            "masklets": [masklet.to_dict() for masklet in self.masklets],
            "bank": self.bank.state_dict(),
            "pins": self.pins.state_dict(),
        }

    @classmethod
    def from_state_dict(cls, model: TrackerModel, state: Mapping[str, Any]) -> MaskletStore:
        """Undo :meth:`state_dict`.

        Raises:
            CheckpointError: an entry is missing or does not fit.
        """
        wanted = {"version", "next_obj_id", "masklets", "bank", "pins"}
        if set(state) != wanted:
            raise CheckpointError(
                f"tracker state with {sorted(state)}; it must have {sorted(wanted)}"
            )
        if state["version"] != STATE_VERSION:
            raise CheckpointError(
                f"tracker state of version {state['version']!r}; only {STATE_VERSION} can be read"
            )
        store = cls(model)
        store.masklets = tuple(Masklet.from_dict(values) for values in state["masklets"])
        store.bank.load_state_dict(state["bank"])
        if store.bank.num_rows != len(store):
            raise CheckpointError(
                f"tracker state with {len(store)} masklets and the memories of "
                f"{store.bank.num_rows}"
            )
        store.pins.load_state_dict(state["pins"], model.mask_size, torch.device(store.device))
        store.next_obj_id = int(state["next_obj_id"])
        return store
