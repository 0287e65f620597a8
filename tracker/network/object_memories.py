"""SAM 3.0's memories: a row of the memory bank for each object, none of which knows another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from maskstream.core.types import TrackerFeatures
from maskstream.tracker.network.frame_memory import (
    FrameMemory,
    as_drawn,
    remember,
    remember_drawn,
    remember_predicted,
)
from maskstream.tracker.network.maps import FrameEmbedding
from maskstream.tracker.network.memory_bank import MemoryBank, MemoryBatch
from maskstream.tracker.network.protocol import Drawn, FoundMasks, FrameChanges, MaskletPrediction
from maskstream.tracker.object_prompt import PREVIOUS_MASK_LIMIT, ObjectPrompt
from maskstream.tracker.rows import take
from maskstream.tracker.video_config import VideoConfig

if TYPE_CHECKING:
    from maskstream.tracker.network.model import TrackerModel

DRAWN_THRESHOLD = 0.5
"""A pixel of a detection is in the mask that a masklet starts from if its logit reaches this."""


class ObjectMemories:
    """What the objects of a session remember, see :mod:`maskstream.tracker.network.protocol`.

    Args:
        model: the network.
        config: the rules of the session.
        num_frames: see :meth:`MemoryBank.gather`.
    """

    def __init__(self, model: TrackerModel, config: VideoConfig, num_frames: int | None) -> None:
        self.model = model
        self.config = config
        self.num_frames = num_frames
        self.bank = MemoryBank(model.config, model.grid, device=model.device)

    def __len__(self) -> int:
        return self.bank.num_rows

    def look(
        self,
        frame_index: int,
        features: TrackerFeatures,
        *,
        reverse: bool,
        size: tuple[int, int] | None = None,
    ) -> ObjectFrame:
        """Take up a frame; the video's size plays no part here."""
        return ObjectFrame(self, self.model.embed(features), frame_index, reverse)

    def remove(self, rows: Sequence[int]) -> None:
        """Forget objects; the others keep their order and move up."""
        self.bank.remove_rows(rows)

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU and plain data."""
        return self.bank.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Raises:
            CheckpointError: an entry is missing or does not fit; nothing is changed.
        """
        self.bank.load_state_dict(dict(state))


@dataclass(frozen=True, slots=True)
class ObjectFrame:
    """One frame of a session."""

    memories: ObjectMemories
    frame: FrameEmbedding
    frame_index: int
    reverse: bool

    def predict(self, rows: Sequence[int]) -> MaskletPrediction:
        """Segment objects from what is remembered of them."""
        return self.memories.model.propagate(self.frame, self._recall(rows))

    def _recall(self, rows: Sequence[int]) -> MemoryBatch:
        return self.memories.bank.gather(
            self.frame_index,
            reverse=self.reverse,
            rows=rows,
            num_frames=self.memories.num_frames,
        )

    def remember(self, changes: FrameChanges) -> Writing:
        """Encode what a step makes of the frame."""
        memory = remember(
            self.memories.model,
            self.frame,
            self._masks_to_remember(changes),
            changes.prompt_ids,
            changes.prediction.object_pointers,
            changes.to_remember,
        )
        resumed = self._take_up(changes.resumed.logits) if len(changes.resumed) else None
        started = self._take_up(changes.started)
        again = self._encode_again(changes) if len(changes.started) else None

        def write() -> None:
            """Room for new objects comes first: that is what can fail."""
            bank, frame_index = self.memories.bank, self.frame_index
            self._append(started)
            rows = changes.to_remember
            bank.write(rows, frame_index, memory.maps, memory.pointers, conditioning=False)
            if resumed is not None:
                back = changes.resumed.rows
                bank.forget_recent(back)
                bank.write(back, frame_index, resumed.maps, resumed.pointers, conditioning=True)
            bank.make_conditioning(changes.reconditioned.rows, frame_index)
            if again is not None:
                bank.write_maps(again[0], frame_index, again[1])

        return Writing(write)

    def start(self, masks: Tensor, prompt_ids: Sequence[int]) -> Writing:
        """Encode new objects on a frame that is not stepped over now."""
        started = self._take_up(masks)
        return Writing(lambda: self._append(started))

    def draw(
        self,
        drawn: ObjectPrompt,
        row: int | None,
        *,
        previous: Callable[[], Tensor | None],
        is_first: bool,
    ) -> Drawn:
        """Make an object of what a user drew, or correct one."""
        model = self.memories.model
        if drawn.mask is not None:
            masks = drawn.mask[None].float().to(model.device)
            prediction = model.from_masks(self.frame, masks)
            memory = remember_drawn(model, self.frame, masks, prediction)
        else:
            # On its first frame an object has nothing to remember but that frame.
            known = None if row is None or is_first else self._recall([row])
            prediction = predict_clicked(
                model, self.frame, drawn, memory=known, previous=previous()
            )
            memory = remember_predicted(model, self.frame, prediction)

        def write() -> None:
            if row is None:
                self._append(memory)
            else:
                self.memories.bank.write(
                    [row], self.frame_index, memory.maps, memory.pointers, conditioning=True
                )

        return Drawn(prediction, Writing(write))

    def _masks_to_remember(self, changes: FrameChanges) -> Tensor:
        reconditioned: FoundMasks = changes.reconditioned
        if self.memories.config.recondition_on_trk_masks or not len(reconditioned):
            return changes.masks
        rows = torch.tensor(reconditioned.rows, device=changes.masks.device)
        return changes.masks.index_copy(0, rows, as_drawn(_drawn_from(reconditioned.logits)))

    def _take_up(self, logits: Tensor) -> FrameMemory:
        """Detections as a user's masks would be taken: drawn, and remembered as drawn."""
        model, drawn = self.memories.model, _drawn_from(logits)
        return remember_drawn(model, self.frame, drawn, model.from_masks(self.frame, drawn))

    def _encode_again(self, changes: FrameChanges) -> tuple[list[int], Tensor] | None:
        """Maps that transformers puts in place of the frame's when objects are added to it."""
        reconditioned = set(changes.reconditioned.rows)
        rows = [row for row in changes.to_remember if row not in reconditioned]
        if not self.memories.config.reencode_memory_on_new_objects or not rows:
            return None
        prediction = changes.prediction
        unprocessed = replace(
            prediction,
            low_res_masks=take(prediction.low_res_masks, rows),
            object_score_logits=take(prediction.object_score_logits, rows),
        )
        return rows, remember_predicted(self.memories.model, self.frame, unprocessed).maps

    def _append(self, memory: FrameMemory) -> None:
        """Add rows that start on this frame."""
        bank, first = self.memories.bank, self.memories.bank.num_rows
        bank.append_rows(len(memory.maps))
        rows = range(first, bank.num_rows)
        bank.write(rows, self.frame_index, memory.maps, memory.pointers, conditioning=True)


@dataclass(frozen=True, slots=True)
class Writing:
    """Memories that are computed and not yet kept."""

    write: Callable[[], None]


def predict_clicked(
    model: TrackerModel,
    frame: FrameEmbedding,
    drawn: ObjectPrompt,
    *,
    memory: MemoryBatch | None,
    previous: Tensor | None,
) -> MaskletPrediction:
    """The network's answer to clicks and a box, for one object.

    Args:
        model: the network.
        frame: the frame that was drawn on.
        drawn: a prompt without a mask.
        memory: what the object remembers; None on its first frame.
        previous: (4h, 4w) logits of its mask that is to be corrected, or None.
    """
    side = float(model.config.image_size)
    device = frame.image.device
    clicked = len(drawn.points) > 0
    return model.prompt(
        frame,
        points=(drawn.points * side)[None].to(device) if clicked else None,
        point_labels=drawn.point_labels[None].to(device) if clicked else None,
        boxes=None if drawn.box is None else (drawn.box * side)[None].to(device),
        mask_logits=(
            None
            if previous is None
            else previous[None].clamp(-PREVIOUS_MASK_LIMIT, PREVIOUS_MASK_LIMIT)
        ),
        memory=memory,
    )


def _drawn_from(logits: Tensor) -> Tensor:
    """(K, H, W) float32, 0 or 1: the masks that detections give to objects."""
    return (logits >= DRAWN_THRESHOLD).float()
