"""SAM 3.1's memories: a row of the bank for each bucket, and one map of each frame's own features.

See :mod:`maskstream.tracker.network.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError
from maskstream.core.types import TrackerFeatures
from maskstream.tracker.network.frame_bank import FrameBank
from maskstream.tracker.network.memory_index import NO_FRAME
from maskstream.tracker.network.multiplex.bucket_frame import BucketFrame
from maskstream.tracker.network.multiplex.config import MultiplexConfig
from maskstream.tracker.network.multiplex.memory_attention import BucketTokens
from maskstream.tracker.network.multiplex.recall import Recall, recall
from maskstream.tracker.network.multiplex.slots import SlotTable
from maskstream.tracker.network.multiplex.states import State, States
from maskstream.tracker.video_config import VideoConfig

if TYPE_CHECKING:
    from maskstream.tracker.network.multiplex.model import MultiplexModel


class BucketBank(FrameBank):
    """A map (L, C) and pointers (M, C) for each frame that a bucket remembers."""

    def recall(
        self,
        row: int,
        frame_index: int,
        reverse: bool,
        num_frames: int | None,
        config: MultiplexConfig,
    ) -> tuple[Recall, int]:
        """What a bucket gives to a frame, and how far recent pointers reach back."""
        reach = self._index.num_recent_pointers
        if num_frames is not None:
            reach = max(2, min(reach, num_frames))
        return recall(self._index, row, frame_index, reverse, reach, config), reach

    def maps_of(self, rows: Sequence[int], slots: Sequence[int]) -> Tensor:
        """(G, T, L, C) maps in the same slots of some rows."""
        place = torch.from_numpy(self._place[list(rows)]).to(self.device)
        return self._maps[place[:, None], torch.tensor(slots, device=self.device)]

    def pointers_of(self, rows: Sequence[int], slots: Sequence[int]) -> Tensor:
        """(G, P, M, C) pointers in the same slots of some rows."""
        place = torch.from_numpy(self._place[list(rows)]).to(self.device)
        return self._pointers[place[:, None], torch.tensor(slots, device=self.device)]

    def forgotten(self, row: int) -> list[int]:
        """The object slots of a bucket that nothing is remembered of any more."""
        filled = torch.from_numpy(self._index.filled()[1][row]).to(self.device)
        kept = self._pointers[int(self._place[row])][filled]
        clean: list[int] = (~kept.ne(0).flatten(2).any(2).any(0)).nonzero()[:, 0].tolist()
        return clean

    def frames(self) -> set[int]:
        """All frames that a map is kept of."""
        tables = (self._index.tables[name] for name in ("cond_frames", "map_frames"))
        return {int(f) for table in tables for f in np.unique(table) if f != NO_FRAME}


class MultiplexMemories:
    """What the objects of a session remember.

    Args:
        model: the network.
        config: the rules of the session.
        num_frames: length of the whole video, or None. In videos shorter than the reach of object
            pointers the original reaches less far back, and divides their distances by less.
        dtype: of stored maps; those of the released model are bfloat16.
    """

    def __init__(
        self,
        model: MultiplexModel,
        config: VideoConfig,
        num_frames: int | None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.model, self.config, self.num_frames, self.dtype = model, config, num_frames, dtype
        sizes, hidden = model.config, model.config.fpn_hidden_size
        self.bank = BucketBank(
            (sizes.grid[0] * sizes.grid[1], hidden),
            (sizes.num_slots, hidden),
            num_recent_maps=sizes.num_maskmem,
            num_recent_pointers=sizes.max_object_pointers_in_encoder,
            device=model.device,
            map_dtype=dtype,
        )
        self.states = States()
        self.images: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self.states.num_rows

    def look(
        self,
        frame_index: int,
        features: TrackerFeatures,
        *,
        reverse: bool,
        size: tuple[int, int] | None = None,
    ) -> BucketFrame:
        """Take up a frame."""
        return BucketFrame(self, self.model.embed(features), frame_index, reverse, size)

    def tokens(self, buckets: Sequence[int], frame_index: int, reverse: bool) -> BucketTokens:
        """What some buckets of one state give to a frame."""
        known, reach = self.bank.recall(
            buckets[0], frame_index, reverse, self.num_frames, self.model.config
        )
        distances = torch.tensor(known.distances, dtype=torch.float32, device=self.model.device)
        pointers = self.bank.pointers_of(buckets, known.pointer_slots)
        return BucketTokens(
            frames=known.frames,
            temporal=known.temporal,
            maps=self.bank.maps_of(buckets, known.map_slots),
            pointers=pointers.flatten(1, 2).to(self.model.no_memory_embedding.dtype),
            pointer_position=self.model.pointer_position(distances / (reach - 1)),
        )

    def with_forgotten_slots(self, indices: Sequence[int]) -> States:
        """The states with slots free again that nothing is remembered of any more."""
        states = self.states
        for index in indices:
            state = states.states[index]
            places = [
                (number, slot)
                for number, bucket in enumerate(states.buckets(index))
                for slot in self.bank.forgotten(bucket)
            ]
            states = states.put(index, State(state.rows, state.table.free(places)))
        return states

    def remove(self, rows: Sequence[int]) -> None:
        """Forget objects; the others keep their order and move up."""
        self.states, kept = self.states.remove(rows)
        self.keep_buckets(kept)

    def keep_buckets(self, kept: Sequence[int]) -> None:
        """Forget all buckets but these, and frames that no bucket remembers."""
        gone = sorted(set(range(self.bank.num_rows)) - set(kept))
        if gone:
            self.bank.remove_rows(gone)
        self.forget_frames()

    def forget_frames(self) -> None:
        """Let go of the features of frames that no bucket remembers."""
        frames = self.bank.frames()
        self.images = {frame: image for frame, image in self.images.items() if frame in frames}

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU and plain data."""
        return {
            "bank": self.bank.state_dict(),
            "states": [
                {"rows": list(state.rows), "slots": [list(b) for b in state.table.buckets]}
                for state in self.states.states
            ],
            "images": [
                {"frame_index": frame, "features": image.cpu()}
                for frame, image in self.images.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Raises:
            CheckpointError: an entry is missing or does not fit; nothing is changed.
        """
        wanted = {"bank", "states", "images"}
        if set(state) != wanted:
            raise CheckpointError(f"memories with {sorted(state)}; they must have {sorted(wanted)}")
        fresh = MultiplexMemories(self.model, self.config, self.num_frames, self.dtype)
        try:
            fresh.bank.load_state_dict(state["bank"])
            fresh.states = States(
                tuple(
                    State(tuple(item["rows"]), SlotTable(tuple(map(tuple, item["slots"]))))
                    for item in state["states"]
                )
            )
            fresh.images = {
                int(item["frame_index"]): item["features"].to(self.model.device, self.dtype)
                for item in state["images"]
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise CheckpointError(f"memories are malformed: {error!r}") from error
        rows = sorted(row for one in fresh.states.states for row in one.rows)
        if rows != list(range(len(rows))) or fresh.states.num_buckets != fresh.bank.num_rows:
            raise CheckpointError(f"memories of {fresh.bank.num_rows} buckets with other states")
        if set(fresh.images) != fresh.bank.frames():
            raise CheckpointError("memories without the features of the frames they are of")
        vars(self).update(vars(fresh))
