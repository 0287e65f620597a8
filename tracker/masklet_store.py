"""What a session holds: the masklets, their memories, and what is pinned. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import CheckpointError
from maskstream.tracker.lifecycle import Masklet, forget_objects
from maskstream.tracker.network.protocol import TrackerNetwork
from maskstream.tracker.pins import Pin, Pins
from maskstream.tracker.video_config import VideoConfig

STATE_VERSION = 3


class MaskletStore:
    """Record and memory of every masklet, in rows, oldest first.

    Row n of ``memories`` always belongs to ``masklets[n]``, and every identity was below
    ``next_obj_id`` when it was given. What a frame adds to the memories is written by whoever has
    computed it, together with the records here.
    """

    def __init__(
        self, model: TrackerNetwork, config: VideoConfig, num_frames: int | None = None
    ) -> None:
        self.device = model.device
        self.memories = model.memories(config, num_frames)
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

    def append(self, masklets: Sequence[Masklet]) -> None:
        """Add masklets after the others; their memories have been added."""
        self.masklets = (*self.masklets, *masklets)
        for masklet in masklets:
            self.next_obj_id = max(self.next_obj_id, masklet.obj_id + 1)

    def update(self, masklets: Sequence[Masklet]) -> None:
        """Put new records in place of the first ``len(masklets)``."""
        self.masklets = (*masklets, *self.masklets[len(masklets) :])

    def put(self, row: int, masklet: Masklet) -> None:
        """Put a new record in place of one masklet's."""
        self.masklets = (*self.masklets[:row], masklet, *self.masklets[row + 1 :])

    def drop(self, obj_ids: set[int]) -> None:
        """Forget masklets and all that refers to them."""
        if not obj_ids:
            return
        rows = [row for row, masklet in enumerate(self.masklets) if masklet.obj_id in obj_ids]
        self.memories.remove(rows)
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
            "bank": self.memories.state_dict(),
            "pins": self.pins.state_dict(),
        }

    @classmethod
    def from_state_dict(
        cls,
        model: TrackerNetwork,
        config: VideoConfig,
        num_frames: int | None,
        state: Mapping[str, Any],
    ) -> MaskletStore:
        """Undo :meth:`state_dict`; the other arguments as for a new store.

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
        store = cls(model, config, num_frames)
        store.masklets = tuple(Masklet.from_dict(values) for values in state["masklets"])
        store.memories.load_state_dict(state["bank"])
        if len(store.memories) != len(store):
            raise CheckpointError(
                f"tracker state with {len(store)} masklets and the memories of "
                f"{len(store.memories)}"
            )
        store.pins.load_state_dict(state["pins"], model.mask_size, store.device)
        store.next_obj_id = int(state["next_obj_id"])
        return store
