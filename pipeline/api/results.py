"""The result of one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import InputError
from maskstream.core.rle import Rle, decode_masks, encode_masks
from maskstream.pipeline.api import adapters

if TYPE_CHECKING:
    from supervision import Detections


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The objects of one frame. All arrays have them in the same order.

    Attributes:
        frame_index: 0-based, as the source counts frames.
        pts_s: time of the frame in seconds; None when the source has no times.
        obj_ids: (N,) int64, lasting identities.
        prompt_ids: (N,) int64, the concept that each object belongs to, or the prompt that
            pointed at it.
        labels: N texts, the names of these concepts.
        scores: (N,) float32 in [0, 1], the score of the object's detection on this frame; NaN where
            the detector did not find it, or did not look for it.
        tracker_scores: (N,) float32 in [0, 1], the score of the tracker on this frame.
        boxes_xywh: (N, 4) float32, left, top, width, height, normalised to the frame.
        masks: (N, H, W) bool at the frame's size.
        states: N of ``provisional``, ``confirmed``, ``suppressed``, ``removed``.
        first_frames: (N,) int64, the frame on which each object appeared.
        frame_stats: counts and times of this frame, JSON values.
        confirmed_ids: objects that are confirmed from this frame on. Before, they were provisional;
            an object that a user has drawn is confirmed on its first frame.
        withdrawn_ids: provisional objects that have proved spurious. Earlier frames have them;
            this one and all later ones do not.
    """

    frame_index: int
    pts_s: float | None
    obj_ids: NDArray[np.int64]
    prompt_ids: NDArray[np.int64]
    labels: list[str]
    scores: NDArray[np.float32]
    tracker_scores: NDArray[np.float32]
    boxes_xywh: NDArray[np.float32]
    masks: NDArray[np.bool_]
    states: list[str]
    first_frames: NDArray[np.int64]
    frame_stats: dict[str, Any] = field(default_factory=dict)
    confirmed_ids: list[int] = field(default_factory=list)
    withdrawn_ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse fields that do not belong together."""
        num_objects = len(self.obj_ids)
        for name in _PER_OBJECT:
            if len(getattr(self, name)) != num_objects:
                raise InputError(
                    f"frame {self.frame_index}: {name} has {len(getattr(self, name))} entries for "
                    f"{num_objects} objects"
                )
        if self.masks.ndim != 3 or self.boxes_xywh.shape != (num_objects, 4):
            raise InputError(
                f"frame {self.frame_index}: masks have shape (N, H, W) and boxes (N, 4), not "
                f"{self.masks.shape} and {self.boxes_xywh.shape}"
            )

    def __len__(self) -> int:
        return len(self.obj_ids)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.masks.shape[1], self.masks.shape[2]

    @cached_property
    def rles(self) -> list[Rle]:
        """The masks as run-length codes; computed once."""
        return encode_masks(self.masks)

    def select(self, rows: Sequence[int]) -> FrameResult:
        """The same frame with only the objects of these rows, in this order."""
        picked = list(rows)
        return replace(
            self,
            obj_ids=self.obj_ids[picked],
            prompt_ids=self.prompt_ids[picked],
            labels=[self.labels[row] for row in picked],
            scores=self.scores[picked],
            tracker_scores=self.tracker_scores[picked],
            boxes_xywh=self.boxes_xywh[picked],
            masks=self.masks[picked],
            states=[self.states[row] for row in picked],
            first_frames=self.first_frames[picked],
        )

    def above(self, threshold: float | None) -> FrameResult:
        """The same frame without objects whose ``out_probs`` is below ``threshold``."""
        if threshold is None:
            return self
        return self.select(np.flatnonzero(self.probabilities >= threshold).tolist())

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(N,) float32: the detection's score, or the tracker's where there is no detection."""
        return np.where(np.isnan(self.scores), self.tracker_scores, self.scores)

    @classmethod
    def empty(
        cls,
        frame_index: int,
        pts_s: float | None,
        frame_size: tuple[int, int],
        frame_stats: dict[str, Any] | None = None,
    ) -> FrameResult:
        """A frame without objects; ``frame_size`` is (height, width)."""
        return cls(
            frame_index=frame_index,
            pts_s=pts_s,
            obj_ids=np.zeros(0, np.int64),
            prompt_ids=np.zeros(0, np.int64),
            labels=[],
            scores=np.zeros(0, np.float32),
            tracker_scores=np.zeros(0, np.float32),
            boxes_xywh=np.zeros((0, 4), np.float32),
            masks=np.zeros((0, *frame_size), np.bool_),
            states=[],
            first_frames=np.zeros(0, np.int64),
            frame_stats=frame_stats or {},
        )

    def to_outputs(self) -> dict[str, Any]:
        """The ``outputs`` of the session API: the five fields of SAM 3, and those of maskstream."""
        return {
            "out_obj_ids": self.obj_ids,
            "out_probs": self.probabilities,
            "out_boxes_xywh": self.boxes_xywh,
            "out_binary_masks": self.masks,
            "frame_stats": self.frame_stats,
            "out_labels": self.labels,
            "out_prompt_ids": self.prompt_ids,
            "out_tracker_probs": self.tracker_scores,
            "out_states": self.states,
            "out_first_frames": self.first_frames,
            "out_confirmed_obj_ids": self.confirmed_ids,
            "out_withdrawn_obj_ids": self.withdrawn_ids,
        }

    def to_supervision(self) -> Detections:
        """The frame for ``supervision``; see ``adapters.to_supervision``."""
        return adapters.to_supervision(self)

    def to_label_studio(
        self, *, from_name: str = "tag", to_name: str = "image"
    ) -> list[dict[str, Any]]:
        """The frame for Label Studio; see ``adapters.to_label_studio``."""
        return adapters.to_label_studio(self, from_name=from_name, to_name=to_name)

    def to_record(self) -> dict[str, Any]:
        """The frame as JSON values, with masks as run-length codes: a line of a JSONL file."""
        height, width = self.frame_size
        return {
            "frame_index": self.frame_index,
            "pts_s": self.pts_s,
            "height": height,
            "width": width,
            "objects": [self.object_record(row) for row in range(len(self))],
            "frame_stats": _plain(self.frame_stats),
            "confirmed_ids": list(self.confirmed_ids),
            "withdrawn_ids": list(self.withdrawn_ids),
        }

    def object_record(self, row: int) -> dict[str, Any]:
        """The object in one row as JSON values."""
        return {
            "obj_id": int(self.obj_ids[row]),
            "prompt_id": int(self.prompt_ids[row]),
            "label": self.labels[row],
            "score": _rounded(self.scores[row]),
            "tracker_score": _rounded(self.tracker_scores[row]),
            "box_xywh": [_rounded(value) for value in self.boxes_xywh[row]],
            "state": self.states[row],
            "first_frame": int(self.first_frames[row]),
            "segmentation": self.rles[row],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> FrameResult:
        """Undo ``to_record``: read a JSONL line back.

        Raises:
            InputError: a field is missing or malformed.
        """
        try:
            objects: Sequence[Mapping[str, Any]] = record["objects"]
            return cls(
                frame_index=record["frame_index"],
                pts_s=record["pts_s"],
                obj_ids=_column(objects, "obj_id", np.int64),
                prompt_ids=_column(objects, "prompt_id", np.int64),
                labels=[item["label"] for item in objects],
                scores=_column(objects, "score", np.float32),
                tracker_scores=_column(objects, "tracker_score", np.float32),
                boxes_xywh=_column(objects, "box_xywh", np.float32).reshape(-1, 4),
                masks=decode_masks(
                    [item["segmentation"] for item in objects], record["height"], record["width"]
                ),
                states=[item["state"] for item in objects],
                first_frames=_column(objects, "first_frame", np.int64),
                frame_stats=dict(record["frame_stats"]),
                # Lines of older versions do not have these two.
                confirmed_ids=[int(one) for one in record.get("confirmed_ids", ())],
                withdrawn_ids=[int(one) for one in record.get("withdrawn_ids", ())],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a frame record: {error}") from error


_PER_OBJECT = (
    "prompt_ids",
    "labels",
    "scores",
    "tracker_scores",
    "boxes_xywh",
    "masks",
    "states",
    "first_frames",
)


def _column(objects: Sequence[Mapping[str, Any]], name: str, dtype: type) -> NDArray[Any]:
    values = [np.nan if item[name] is None else item[name] for item in objects]
    return np.asarray(values, dtype=dtype)


def _rounded(value: np.float32) -> float | None:
    """Six digits are finer than a pixel of any frame. JSON has no NaN."""
    return round(float(value), 6) if np.isfinite(value) else None


def _plain(value: Any) -> Any:
    """numpy scalars and arrays to JSON values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
