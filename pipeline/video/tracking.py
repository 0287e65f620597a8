"""What a session tracks: its concepts, its masklets, and the results that are held back.

This is all of a session that outlives a frame; it can be saved and restored. Features and
detections come from the same process (:mod:`maskstream.pipeline.video.segmenter`) or from a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.errors import CheckpointError, InputError, PromptError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.core.masks import boxes_from_masks
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import Concept, DetectionRules
from maskstream.detector.prompts import Exemplar
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.api.prompts import (
    box_faults,
    label_faults,
    normalised_boxes,
    normalised_points,
    point_faults,
)
from maskstream.pipeline.api.results import FrameResult
from maskstream.tracker.delay import Delay
from maskstream.tracker.network.protocol import TrackerNetwork
from maskstream.tracker.overlap import resize_and_separate
from maskstream.tracker.tracked_frame import TrackedFrame
from maskstream.tracker.video_config import VideoConfig
from maskstream.tracker.video_tracker import NO_CONCEPT, VideoTracker

OBJECT_LABEL = "object"
"""Label of objects that a user has drawn and not named; their ``prompt_id`` is ``NO_CONCEPT``."""

STATE_VERSION = 3

_MAX_LABELS = 256
"""Labels of removed concepts and objects that are kept."""


def detection_rules(config: VideoConfig, score_threshold: float | None) -> DetectionRules:
    """The rules by which a session counts detections.

    Args:
        config: the model's thresholds and rules.
        score_threshold: least joint score of a detection; None takes the model's own.

    Raises:
        InputError: a threshold outside of [0, 1].
    """
    if score_threshold is not None and not 0.0 <= score_threshold <= 1.0:
        raise InputError(f"score_threshold is {score_threshold}; it must lie in [0, 1]")
    return DetectionRules(
        score_threshold=(
            config.score_threshold_detection if score_threshold is None else score_threshold
        ),
        nms_iou=config.det_nms_thresh if config.det_nms_thresh > 0 else None,
        nms_by=config.overlap,
    )


class SessionTracking:
    """The state of one session.

    Args:
        model: the tracker's network; sessions may share it.
        config: thresholds and rules of the video loop.
        latency: "delayed": results come late by the hot start, without the objects that it
            withdrew. "live": results come at once, with young objects marked provisional.

    Raises:
        InputError: an unknown latency.
    """

    def __init__(
        self, model: TrackerNetwork, config: VideoConfig, *, latency: Latency = "delayed"
    ) -> None:
        if latency not in ("delayed", "live"):
            raise InputError(f"latency is {latency!r}; it must be 'delayed' or 'live'")
        self.latency = latency
        self._model = model
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget all prompts, objects and pending results."""
        self.tracker = VideoTracker(self._model, self._config)
        self._delay = Delay(self._config.hotstart_delay if self.latency == "delayed" else 0)
        self._concepts: dict[int, Concept] = {}
        self._labels = {NO_CONCEPT: OBJECT_LABEL}
        self._next_prompt_id = 0
        self._reverse = False
        self._pending: dict[int, FrameStamp] = {}

    @property
    def concepts(self) -> list[Concept]:
        """The concepts that are being found, oldest first."""
        return list(self._concepts.values())

    # Prompts

    def concept(self, prompt_id: int) -> Concept:
        """Returns a concept by its id.

        Raises:
            PromptError: there is no such concept.
        """
        if prompt_id not in self._concepts:
            raise PromptError(f"there is no concept {prompt_id}")
        return self._concepts[prompt_id]

    def add_concept(self, text: str | None, exemplars: Tensor | None = None) -> int:
        """Find a concept from the next frame on; see :meth:`VideoSegmenter.add_concept`."""
        if exemplars is None:
            for concept in self._concepts.values():
                if concept.text == text and concept.exemplars is None:
                    return concept.prompt_id
        concept = Concept(self._next_prompt_id, text, exemplars)
        self._next_prompt_id += 1
        self._concepts[concept.prompt_id] = concept
        self._note_label(concept.prompt_id, concept.label)
        return concept.prompt_id

    def _note_label(self, prompt_id: int, label: str) -> None:
        """Remember a label, and forget the oldest of those that nothing has any more.

        Frames that are held back may still show objects that were removed, but only for some
        frames.
        """
        self._labels[prompt_id] = label
        kept = {NO_CONCEPT, *self._concepts, *(m.prompt_id for m in self.tracker.masklets)}
        unused = [number for number in self._labels if number not in kept and number != prompt_id]
        for number in unused[: max(0, len(unused) - _MAX_LABELS)]:
            del self._labels[number]

    def _prompt_id_of(self, label: str | None) -> int:
        """The prompt id of objects that a user calls so: each label has one of its own."""
        if label is None:
            return NO_CONCEPT
        drawn = {m.prompt_id for m in self.tracker.masklets} - {NO_CONCEPT, *self._concepts}
        same = (number for number in sorted(drawn) if self._labels.get(number) == label)
        return next(same, self._next_prompt_id)

    @torch.inference_mode()
    def start_found(self, stamp: FrameStamp, features: TrackerFeatures, found: Detections) -> None:
        """Start tracking the detections of one concept; other objects are not affected."""
        self.tracker.start_objects(
            stamp.index, features, found, reverse=self._reverse, size=stamp.size
        )

    @torch.inference_mode()
    def add_object(
        self,
        stamp: FrameStamp,
        features: TrackerFeatures,
        *,
        obj_id: int | None = None,
        points: Sequence[Sequence[float]] | None = None,
        point_labels: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        mask: NDArray[np.bool_] | None = None,
        clear_old_points: bool = True,
        label: str | None = None,
    ) -> int:
        """Start or refine one object; see :meth:`VideoSegmenter.add_object`."""
        prompt_id = self._prompt_id_of(label)
        prompted = self.tracker.add_object(
            stamp.index,
            features,
            obj_id=obj_id,
            prompt_id=prompt_id,
            points=points,
            point_labels=point_labels,
            box=None if box is None else _corners(box),
            mask=None if mask is None else torch.as_tensor(mask),
            clear_old_points=clear_old_points,
            reverse=self._reverse,
            size=stamp.size,
        )
        if label is not None and prompted.masklet.prompt_id == prompt_id:
            self._next_prompt_id = max(self._next_prompt_id, prompt_id + 1)
            self._note_label(prompt_id, label)
        return prompted.obj_id

    def remove_concept(self, prompt_id: int) -> list[int]:
        """Stop finding a concept and drop its objects.

        Returns:
            Ids of the objects that were dropped; empty if there was no such concept.
        """
        self._concepts.pop(prompt_id, None)
        return self.tracker.remove_prompt(prompt_id)

    def remove_object(self, obj_id: int, *, keep_away: bool = True) -> bool:
        """Drop one object; False if there is no such object. See ``VideoSegmenter``."""
        removed = self.tracker.remove_object(obj_id, keep_away=keep_away)
        if removed:
            self._delay.hide(obj_id)
        return removed

    def is_kept_away(self, obj_id: int) -> bool:
        """Whether an object was removed and is followed so that it is not found again."""
        return self.tracker.is_kept_away(obj_id)

    # Frames

    @torch.inference_mode()
    def step(
        self,
        stamp: FrameStamp,
        features: TrackerFeatures,
        detections: Detections,
        *,
        reverse: bool = False,
    ) -> list[FrameResult]:
        """Take the next frame; returns the results that are ready. See ``VideoSegmenter.step``."""
        self._reverse = reverse
        tracked = self.tracker.step(
            stamp.index, features, detections, reverse=reverse, size=stamp.size
        )
        self._pending[stamp.index] = stamp
        return [self._finish(ready) for ready in self._delay.push(tracked)]

    @torch.inference_mode()
    def flush(self) -> list[FrameResult]:
        """Returns the held-back results, at the end of a video or before the direction changes."""
        return [self._finish(ready) for ready in self._delay.flush()]

    @torch.inference_mode()
    def at(self, stamp: FrameStamp) -> FrameResult:
        """Returns the objects that were prompted or found on a frame, before ``step`` takes it."""
        return self._result(self.tracker.prompted(stamp.index), stamp)

    # Saving

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as tensors on the CPU and plain data."""
        return {
            "version": STATE_VERSION,
            "tracker": self.tracker.state_dict(),
            "held": self._delay.state_dict(),
            "concepts": [
                {
                    "prompt_id": concept.prompt_id,
                    "text": concept.text,
                    "exemplars": None if concept.exemplars is None else concept.exemplars.cpu(),
                }
                for concept in self._concepts.values()
            ],
            "labels": [[prompt_id, label] for prompt_id, label in self._labels.items()],
            "next_prompt_id": self._next_prompt_id,
            "reverse": self._reverse,
            "pending": [stamp.to_state() for stamp in self._pending.values()],
        }

    @torch.inference_mode()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from :meth:`state_dict` of a session with the same model.

        Raises:
            CheckpointError: an entry is missing or does not fit; the state is unchanged.
        """
        wanted = {
            "version", "tracker", "held", "concepts", "labels", "next_prompt_id", "reverse",
            "pending",
        }  # fmt: skip
        if set(state) != wanted or state["version"] != STATE_VERSION:
            raise CheckpointError(
                f"session state with {sorted(state)} of version {state.get('version')!r}; it must "
                f"have {sorted(wanted)} and version {STATE_VERSION}"
            )
        fresh = SessionTracking(self._model, self._config, latency=self.latency)
        fresh.tracker.load_state_dict(state["tracker"])
        device = self._model.device
        fresh._delay.load_state_dict(state["held"], device)
        try:
            fresh._concepts = {
                item["prompt_id"]: _concept(item, device) for item in state["concepts"]
            }
            fresh._labels = {int(prompt_id): str(label) for prompt_id, label in state["labels"]}
            fresh._pending = {
                item["index"]: FrameStamp.from_state(item) for item in state["pending"]
            }
            fresh._next_prompt_id = int(state["next_prompt_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"session state is malformed: {error!r}") from error
        fresh._reverse = bool(state["reverse"])
        vars(self).update(vars(fresh))

    # Results

    def _finish(self, tracked: TrackedFrame) -> FrameResult:
        return self._result(tracked, self._pending.pop(tracked.frame_index))

    def _result(self, tracked: TrackedFrame, stamp: FrameStamp) -> FrameResult:
        """The result of a tracked frame, at the video's size and without invisible objects."""
        masks = resize_and_separate(
            tracked.low_res_masks, tracked.tracker_scores, tracked.prompt_ids, stamp.size
        )
        seen = masks.flatten(1).any(1)
        masks, kept = masks[seen], seen.nonzero().flatten().tolist()
        height, width = stamp.size
        boxes = boxes_from_masks(masks).float() / masks.new_tensor(
            [width, height, width, height], dtype=torch.float32
        )
        boxes[:, 2:] -= boxes[:, :2]
        return FrameResult(
            frame_index=tracked.frame_index,
            pts_s=stamp.pts_s,
            obj_ids=np.array([tracked.obj_ids[i] for i in kept], np.int64),
            prompt_ids=np.array([tracked.prompt_ids[i] for i in kept], np.int64),
            labels=[self._labels[tracked.prompt_ids[i]] for i in kept],
            scores=np.array([tracked.detection_scores[i] for i in kept], np.float32),
            tracker_scores=np.array([tracked.tracker_scores[i] for i in kept], np.float32),
            boxes_xywh=boxes.cpu().numpy(),
            masks=masks.cpu().numpy(),
            states=[tracked.states[i].value for i in kept],
            first_frames=np.array([tracked.first_frames[i] for i in kept], np.int64),
            frame_stats=tracked.frame_stats.to_dict(),
            confirmed_ids=list(tracked.newly_confirmed),
            withdrawn_ids=list(tracked.newly_removed),
        )


def shown_exemplar(
    boxes: Sequence[Sequence[float]] | None,
    box_labels: Sequence[int] | None,
    points: Sequence[Sequence[float]] | None = None,
    point_labels: Sequence[int] | None = None,
) -> Exemplar:
    """Check exemplars and convert them for the detector.

    Args:
        boxes: x, y, w, h normalised to the frame.
        box_labels: 1 for "like this", 0 for "not like this"; all 1 when None.
        points: x, y normalised to the frame.
        point_labels: as ``box_labels``.

    Raises:
        PromptError: some cannot be used; names every fault of the first faulty kind.
    """
    shown = Exemplar()
    if boxes:
        inside = normalised_boxes(_checked("boxes", boxes, 4, box_faults), 1.0, 1.0)
        shown.boxes = [(x + w / 2, y + h / 2, w, h) for x, y, w, h in inside]
    if points:
        shown.points = normalised_points(_checked("points", points, 2, point_faults), 1.0, 1.0)
    shown.box_labels = _checked_labels(box_labels, len(shown.boxes), "box")
    shown.point_labels = _checked_labels(point_labels, len(shown.points), "point")
    return shown


def _concept(values: Mapping[str, Any], device: torch.device) -> Concept:
    exemplars = values["exemplars"]
    return Concept(
        values["prompt_id"], values["text"], None if exemplars is None else exemplars.to(device)
    )


def _corners(box: Sequence[float]) -> list[float]:
    boxes = _checked("box", [box], 4, box_faults)
    x, y, width, height = normalised_boxes(boxes, 1.0, 1.0)[0]
    return [x, y, x + width, y + height]


def _checked(
    name: str,
    values: Sequence[Sequence[float]],
    count: int,
    faults_of: Callable[..., list[str]],
) -> list[Any]:
    """Check rows of ``count`` numbers and convert them to floats.

    Raises:
        PromptError: names every fault.
    """
    rows = [tuple(float(number) for number in row) for row in values]
    if any(len(row) != count for row in rows):
        raise PromptError(f"{name} must be rows of {count} numbers, got {list(values)}")
    faults = faults_of(rows, name=name)
    if faults:
        raise PromptError("; ".join(faults))
    return rows


def _checked_labels(labels: Sequence[int] | None, count: int, kind: str) -> list[int]:
    given = [1] * count if labels is None else [int(label) for label in labels]
    faults = label_faults(given, count, f"{kind} labels", f"{kind}s")
    if faults:
        raise PromptError("; ".join(faults))
    return given
