"""Masks that are given for a frame, not predicted: what a user drew or a detection started with.

When the video is played over that frame, a pinned masklet keeps its mask and its memory as they
are. Also what further clicks on the frame build upon.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError
from maskstream.tracker.lifecycle import Masklet
from maskstream.tracker.network.protocol import PRESENT_LOGIT, MaskletPrediction
from maskstream.tracker.object_prompt import ObjectPrompt

MAX_PINS = 8
"""Frames pinned for one masklet, as many as the memory bank keeps conditioning frames of it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A masklet's mask on a frame.

    Attributes:
        low_res_mask: (4h, 4w) float32 logits.
        object_score_logit: > 0: the object is in the frame.
        tracker_score: in [0, 1], what is told as the tracker's score on the frame.
        detection_score: of the detection that started the masklet here; None if a user drew it.
        points: (P, 2) float32, clicks so far, x y normalised to the frame.
        point_labels: (P,) int64, 1 on the object, 0 off it.
        box: (4,) float32 x0 y0 x1 y1 normalised, or None.
    """

    low_res_mask: Tensor
    object_score_logit: float
    tracker_score: float
    detection_score: float | None
    points: Tensor
    point_labels: Tensor
    box: Tensor | None

    @classmethod
    def of_detection(cls, low_res_mask: Tensor, score: float) -> Pin:
        """For a masklet that a detection started."""
        no_points, no_labels = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
        return cls(low_res_mask, PRESENT_LOGIT, score, score, no_points, no_labels, None)

    @classmethod
    def of_prompt(cls, low_res_mask: Tensor, object_score_logit: float, drawn: ObjectPrompt) -> Pin:
        """For an object that a user drew."""
        score = float(torch.sigmoid(torch.tensor(object_score_logit)))
        return cls(
            low_res_mask,
            object_score_logit,
            score,
            None,
            drawn.points,
            drawn.point_labels,
            drawn.box,
        )


class Pins:
    """The pins of a session, at most ``MAX_PINS`` a masklet; the oldest goes first."""

    def __init__(self) -> None:
        self._pins: dict[int, dict[int, Pin]] = {}

    def put(self, obj_id: int, frame_index: int, pin: Pin) -> None:
        """Pin a masklet on a frame, in place of what was pinned there."""
        frames = self._pins.setdefault(obj_id, {})
        frames.pop(frame_index, None)
        frames[frame_index] = pin
        while len(frames) > MAX_PINS:
            del frames[next(iter(frames))]

    def get(self, obj_id: int, frame_index: int) -> Pin | None:
        """What is pinned on a frame."""
        return self._pins.get(obj_id, {}).get(frame_index)

    def of(self, masklets: Sequence[Masklet], frame_index: int) -> list[Pin | None]:
        """For each masklet what is pinned on a frame."""
        return [self.get(masklet.obj_id, frame_index) for masklet in masklets]

    def drop(self, obj_ids: Iterable[int]) -> None:
        """Forget masklets."""
        for obj_id in obj_ids:
            self._pins.pop(obj_id, None)

    def state_dict(self) -> list[dict[str, Any]]:
        """Tensors on the CPU and plain data."""
        return [
            {"obj_id": obj_id, "frame_index": frame_index}
            | {name: _to_cpu(getattr(pin, name)) for name in _PIN_FIELDS}
            for obj_id, frames in self._pins.items()
            for frame_index, pin in frames.items()
        ]

    def load_state_dict(
        self, state: Sequence[dict[str, Any]], mask_size: tuple[int, int], device: torch.device
    ) -> None:
        """Undo :meth:`state_dict`.

        Raises:
            CheckpointError: an entry is malformed; nothing is changed.
        """
        loaded = Pins()
        for entry in state:
            if set(entry) != {"obj_id", "frame_index", *_PIN_FIELDS}:
                raise CheckpointError(f"pinned mask with {sorted(entry)}")
            values = {name: entry[name] for name in _PIN_FIELDS}
            mask = values["low_res_mask"]
            if not isinstance(mask, Tensor) or tuple(mask.shape) != mask_size:
                raise CheckpointError(
                    f"pinned mask of object {entry['obj_id']}: not a tensor of shape {mask_size}"
                )
            values["low_res_mask"] = mask.to(device)
            loaded.put(entry["obj_id"], entry["frame_index"], Pin(**values))
        self._pins = loaded._pins


def with_pins(answer: MaskletPrediction, pins: Sequence[Pin | None]) -> MaskletPrediction:
    """Put pinned masks between predicted ones.

    Args:
        answer: for the masklets that are not pinned, in order; float32 masks and logits.
        pins: for all N masklets.

    Returns:
        For all N. Pointers and predicted quality of pinned ones are 0: their memory of the frame
        is in the bank already.
    """
    given = [pin for pin in pins if pin is not None]
    if not given:
        return answer
    device, size = answer.low_res_masks.device, len(pins)
    is_pinned = torch.tensor([pin is not None for pin in pins])
    free, taken = (~is_pinned).nonzero()[:, 0].to(device), is_pinned.nonzero()[:, 0].to(device)

    def spread(values: Tensor, given_values: Tensor | None = None) -> Tensor:
        out = values.new_zeros(size, *values.shape[1:]).index_copy_(0, free, values)
        return out if given_values is None else out.index_copy_(0, taken, given_values)

    logits = answer.object_score_logits
    return replace(
        answer,
        low_res_masks=spread(
            answer.low_res_masks, torch.stack([pin.low_res_mask for pin in given])
        ),
        iou_scores=spread(answer.iou_scores),
        object_score_logits=spread(
            logits, logits.new_tensor([pin.object_score_logit for pin in given])
        ),
        object_pointers=spread(answer.object_pointers),
    )


_PIN_FIELDS = tuple(spec.name for spec in fields(Pin))


def _to_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
