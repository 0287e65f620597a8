"""What the video loop asks of a tracker network.

The loop decides which objects there are and what a frame does to them. A network carries their
masks from frame to frame by what it remembers of them. How it remembers is its own affair: a map
for each object, or one for many. So association, lifecycle, output, sessions and workers know no
network, and any rules of the loop go with any network.

Objects are numbered in rows, oldest first. Work on a frame computes first and writes last, so that
a step that fails on the way leaves the memories as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from maskstream.core.types import TrackerFeatures
from maskstream.tracker.object_prompt import ObjectPrompt
from maskstream.tracker.video_config import VideoConfig

PRESENT_LOGIT = 10.0
"""Object score of an object whose mask is not empty, where no network says otherwise."""


@dataclass(frozen=True, slots=True)
class MaskletPrediction:
    """What the network says about N masklets in one frame.

    Attributes:
        low_res_masks: (N, 4h, 4w) logits, > 0 is inside; -1024 everywhere where the object isn't
            in the frame.
        iou_scores: (N,) in [0, 1], predicted quality of the mask.
        object_score_logits: (N,), > 0: the object is in the frame.
        object_pointers: (N, C), for the memory.
    """

    low_res_masks: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor
    object_pointers: Tensor

    def __len__(self) -> int:
        return self.low_res_masks.shape[0]


@dataclass(frozen=True, slots=True)
class FoundMasks:
    """Masks of the detector that objects take over.

    Attributes:
        rows: K rows of objects.
        logits: (K, 4h, 4w) float32, the detections' masks.
    """

    rows: Sequence[int]
    logits: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class FrameChanges:
    """What a frame does to N objects that were there, and K that begin on it.

    Attributes:
        prediction: of all N, as :meth:`FrameView.predict` gave it; objects whose mask is given on
            the frame have it in place of a predicted one.
        masks: (N, 4h, 4w) logits, the masks as the rules of the loop leave them.
        prompt_ids: N concepts. Objects of one concept compete for pixels; a negative one is none.
        to_remember: rows that keep a memory of this frame.
        given: rows whose mask was given on this frame before; they have their memory of it.
        reconditioned: rows, all among those to remember, for which this frame becomes one that
            conditions later ones, and the detections that confirm them.
        resumed: rows that go on from a detection instead of from what was predicted.
        started: (K, 4h, 4w) float32, the detections that K new objects start from. Their rows
            follow the N.
        started_prompts: K concepts.
    """

    prediction: MaskletPrediction
    masks: Tensor
    prompt_ids: Sequence[int]
    to_remember: list[int]
    given: Sequence[int]
    reconditioned: FoundMasks
    resumed: FoundMasks
    started: Tensor
    started_prompts: Sequence[int]


class Pending(Protocol):
    """Memories that are computed and not yet kept."""

    def write(self) -> None:
        """Keep them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The answer to what a user drew for one object.

    Attributes:
        prediction: of the one object.
        memory: what it keeps of the frame; writing adds the row of a new object after the others.
    """

    prediction: MaskletPrediction
    memory: Pending


class FrameView(Protocol):
    """One frame, ready for any number of objects."""

    def predict(self, rows: Sequence[int]) -> MaskletPrediction:
        """Segment objects from what is remembered of them, in the order of ``rows``."""

    def remember(self, changes: FrameChanges) -> Pending:
        """Encode what a step makes of the frame."""

    def start(self, masks: Tensor, prompt_ids: Sequence[int]) -> Pending:
        """Encode new objects on a frame that is not stepped over now. Touches no other object.

        Args:
            masks: (K, 4h, 4w) float32 logits of the detections that they start from.
            prompt_ids: K concepts.
        """

    def draw(
        self,
        drawn: ObjectPrompt,
        row: int | None,
        *,
        previous: Callable[[], Tensor | None],
        is_first: bool,
    ) -> Drawn:
        """Make an object of what a user drew, or correct one.

        Args:
            drawn: clicks and a box, or a mask.
            row: the object to correct; None makes a new one.
            previous: gives (4h, 4w) logits of its mask that is to be corrected, or None; networks
                that start from clicks alone do not ask.
            is_first: the object began on this frame, so that it remembers nothing else.
        """


class Memories(Protocol):
    """What is remembered of the objects of one session, in space that does not grow with time."""

    def __len__(self) -> int:
        """Objects."""

    def look(
        self,
        frame_index: int,
        features: TrackerFeatures,
        *,
        reverse: bool,
        size: tuple[int, int] | None = None,
    ) -> FrameView:
        """Take up a frame.

        Args:
            frame_index: 0-based.
            features: of this frame.
            reverse: the video is played backwards: what is remembered lies ahead.
            size: (height, width) of the video, through which some networks take given masks;
                None leaves that out.

        Raises:
            InputError: features of another shape than the network's.
        """

    def remove(self, rows: Sequence[int]) -> None:
        """Forget objects; the others keep their order and move up."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU and plain data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` of the same network gave.

        Raises:
            CheckpointError: an entry is missing or does not fit; nothing is changed.
        """


class NetworkConfig(Protocol):
    """The configuration of a network."""

    def to_dict(self) -> dict[str, Any]:
        """As ``tracker_config`` of a checkpoint holds it, ready for JSON."""


class TrackerNetwork(Protocol):
    """The weights. Stateless: any number of sessions can share them."""

    @property
    def config(self) -> NetworkConfig:
        """What the weights are for."""

    @property
    def mask_size(self) -> tuple[int, int]:
        """(4h, 4w), the size of ``low_res_masks``."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def memories(self, config: VideoConfig, num_frames: int | None = None) -> Memories:
        """The memories of a new session.

        Args:
            config: the rules of the session.
            num_frames: length of the whole video, where the network is to know it.
        """

    def state_dict(self) -> dict[str, Any]:
        """All weights by name."""

    def to(self, device: torch.device) -> Self:
        """Move the weights, in place."""
