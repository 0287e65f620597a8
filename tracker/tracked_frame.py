"""What the tracker says about one frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError
from maskstream.tracker.lifecycle import Masklet, MaskletState


@dataclass(frozen=True, slots=True)
class FrameStats:
    """What happened in one frame, in numbers.

    Attributes:
        num_detections: detections given.
        num_masklets: masklets tracked at the end of the frame.
        num_new: started by detections.
        num_confirmed: left hot start.
        num_removed: withdrawn by hot start.
        num_suppressed: tracked but not to be shown.
        num_reconditioned: that had a detection confirm them and remember this frame for it.
        num_resumed: had been out of sight and took up their identity again with a detection.
        num_dropped: detections that found no place under ``max_num_objects``.
        num_kept_away: removed by the user, and followed unseen so that they are not found again.
    """

    num_detections: int = 0
    num_masklets: int = 0
    num_new: int = 0
    num_confirmed: int = 0
    num_removed: int = 0
    num_suppressed: int = 0
    num_reconditioned: int = 0
    num_resumed: int = 0
    num_dropped: int = 0
    num_kept_away: int = 0

    def to_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """The masklets of one frame, one row each, in the order in which they were started.

    Attributes:
        frame_index: 0-based.
        obj_ids: N lasting identities.
        prompt_ids: N concepts; negative for none.
        low_res_masks: (N, 4h, 4w) float32 logits, > 0 is inside; the grid covers the whole frame.
            A suppressed masklet's is empty.
        detection_scores: (N,) float32 on the CPU, the score of this frame's detection of the
            masklet, the closest of those that overlap it by ``trk_assoc_iou_thresh``; NaN where
            the detector did not see it.
        last_detection_scores: (N,) float32 on the CPU, the same from the last frame on which the
            detector saw the masklet; NaN if it never did.
        tracker_scores: (N,) float32 on the CPU, sigmoid of this frame's object score; for a
            masklet that starts on this frame, its detection's score.
        states: N states.
        first_frames: N frame indices, where each was started.
        newly_removed: identities withdrawn on this frame; they have no row any more.
        newly_confirmed: identities that left hot start on this frame.
        frame_stats: counts.
    """

    frame_index: int
    obj_ids: list[int]
    prompt_ids: list[int]
    low_res_masks: Tensor
    detection_scores: Tensor
    last_detection_scores: Tensor
    tracker_scores: Tensor
    states: list[MaskletState]
    first_frames: list[int]
    newly_removed: list[int]
    newly_confirmed: list[int]
    frame_stats: FrameStats

    def __len__(self) -> int:
        return len(self.obj_ids)

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU and plain data."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in values.items()
        } | {
            "states": [str(state) for state in self.states],
            "frame_stats": self.frame_stats.to_dict(),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], device: torch.device) -> TrackedFrame:
        """Undo :meth:`state_dict`.

        Raises:
            CheckpointError: a field is missing, unknown or malformed.
        """
        wanted = {spec.name for spec in fields(cls)}
        if set(state) != wanted:
            raise CheckpointError(f"frame with {sorted(state)}; it must have {sorted(wanted)}")
        try:
            return cls(
                **{
                    **state,
                    "low_res_masks": state["low_res_masks"].to(device),
                    "states": [MaskletState(name) for name in state["states"]],
                    "frame_stats": FrameStats(**state["frame_stats"]),
                }
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"frame {state['frame_index']!r} is malformed: {error}"
            ) from error

    def select(self, rows: Sequence[int]) -> TrackedFrame:
        """The same frame with these rows only, in this order."""
        if list(rows) == list(range(len(self))):
            return self
        picked = list(rows)
        return replace(
            self,
            obj_ids=[self.obj_ids[row] for row in picked],
            prompt_ids=[self.prompt_ids[row] for row in picked],
            low_res_masks=self.low_res_masks[picked],
            detection_scores=self.detection_scores[picked],
            last_detection_scores=self.last_detection_scores[picked],
            tracker_scores=self.tracker_scores[picked],
            states=[self.states[row] for row in picked],
            first_frames=[self.first_frames[row] for row in picked],
        )


def frame_of(
    frame_index: int,
    masklets: Sequence[Masklet],
    *,
    low_res_masks: Tensor,
    detection_scores: Tensor,
    tracker_scores: Tensor,
    not_shown: Sequence[bool],
    newly_removed: list[int],
    newly_confirmed: list[int],
    frame_stats: FrameStats,
) -> TrackedFrame:
    """A frame out of records and what they do not hold; all of one length and in one order."""
    last_scores = [
        math.nan if masklet.last_detection_score is None else masklet.last_detection_score
        for masklet in masklets
    ]
    return TrackedFrame(
        frame_index=frame_index,
        obj_ids=[masklet.obj_id for masklet in masklets],
        prompt_ids=[masklet.prompt_id for masklet in masklets],
        low_res_masks=low_res_masks,
        detection_scores=detection_scores,
        last_detection_scores=torch.tensor(last_scores, dtype=torch.float32),
        tracker_scores=tracker_scores,
        states=[
            _state(masklet, hidden) for masklet, hidden in zip(masklets, not_shown, strict=True)
        ],
        first_frames=[masklet.first_frame for masklet in masklets],
        newly_removed=newly_removed,
        newly_confirmed=newly_confirmed,
        frame_stats=frame_stats,
    )


def _state(masklet: Masklet, not_shown: bool) -> MaskletState:
    if not_shown:
        return MaskletState.SUPPRESSED
    return MaskletState.CONFIRMED if masklet.confirmed else MaskletState.PROVISIONAL
