"""`VideoSegmenter`: frames in, masks with lasting identities out, in one process.

One verb, :meth:`VideoSegmenter.step`, takes the next frame. Concepts and objects may be added and
removed between any two frames; what is already tracked is not touched by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import InputError, PromptError, SourceError
from core.masks import boxes_from_masks
from core.types import Detections, TrackerFeatures
from detector.concepts import EXEMPLAR_ONLY_TEXT, ConceptEncoder
from detector.model import ImageFeatures
from detector.preprocess import to_pixels
from detector.prompts import ConceptBatch, Exemplar, batch_exemplars, pad_tokens
from pipeline.model import VideoModel
from pipeline.prompts import (
    box_faults,
    label_faults,
    normalised_boxes,
    normalised_points,
    point_faults,
)
from pipeline.results import FrameResult
from pipeline.sources import Frame, FrameSource
from tracker.delay import Delay
from tracker.overlap import resize_and_separate
from tracker.tracked_frame import TrackedFrame
from tracker.video_tracker import NO_CONCEPT, VideoTracker

Direction = Literal["forward", "backward", "both"]
Latency = Literal["delayed", "live"]

OBJECT_LABEL = "object"
"""Label of what was pointed at rather than named; its ``prompt_id`` is ``NO_CONCEPT``."""


@dataclass(frozen=True, slots=True)
class Concept:
    """Something to be found in every frame.

    Attributes:
        text: its words; None when it is only shown.
        exemplars: (G, C) encoded exemplars, or None when it is only named.
    """

    prompt_id: int
    text: str | None
    exemplars: Tensor | None

    @property
    def label(self) -> str:
        """What results call it."""
        return EXEMPLAR_ONLY_TEXT if self.text is None else self.text


@dataclass(frozen=True, slots=True)
class _Encoded:
    frame_index: int
    features: ImageFeatures

    @property
    def tracker(self) -> TrackerFeatures:
        return self.features.tracker_features(0)


class VideoSegmenter:
    """Segments one video.

    Results come ``delayed`` by the hot start, in which objects that turn out spurious are left out
    as if they had never been there, or ``live``, at once and with young objects marked provisional.

    Args:
        model: may be shared with other segmenters.
        latency: "delayed" or "live".
        score_threshold: detections above this joint score count; None takes the model's own.
    """

    def __init__(
        self,
        model: VideoModel,
        *,
        latency: Latency = "delayed",
        score_threshold: float | None = None,
    ) -> None:
        if latency not in ("delayed", "live"):
            raise InputError(f"latency is {latency!r}; it must be 'delayed' or 'live'")
        if score_threshold is not None and not 0.0 <= score_threshold <= 1.0:
            raise InputError(f"score_threshold is {score_threshold}; it must lie in [0, 1]")
        self.model = model
        self.latency = latency
        config = model.config
        self.score_threshold = (
            config.score_threshold_detection if score_threshold is None else score_threshold
        )
        self._nms_iou = config.det_nms_thresh if config.det_nms_thresh > 0 else None
        self._texts = ConceptEncoder(model.detector, model.detector.tokenizer)
        self.reset()

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str = torch.float32,
        latency: Latency = "delayed",
        score_threshold: float | None = None,
    ) -> VideoSegmenter:
        """Load a checkpoint and segment with it; see :meth:`pipeline.model.VideoModel`."""
        model = VideoModel.from_checkpoint(checkpoint, device=device, dtype=dtype)
        return cls(model, latency=latency, score_threshold=score_threshold)

    def reset(self) -> None:
        """Forget all prompts, objects and pending results."""
        self._tracker = VideoTracker(self.model.tracker, self.model.config)
        self._delay = Delay(self.model.config.hotstart_delay if self.latency == "delayed" else 0)
        self._concepts: dict[int, Concept] = {}
        self._labels = {NO_CONCEPT: OBJECT_LABEL}
        self._next_prompt_id = 0
        self._batch: ConceptBatch | None = None
        self._encoded: _Encoded | None = None
        self._reverse = False
        self._pending: dict[int, tuple[float | None, tuple[int, int]]] = {}

    @property
    def concepts(self) -> list[Concept]:
        """The concepts in force, oldest first."""
        return list(self._concepts.values())

    # Prompts

    @torch.inference_mode()
    def add_concept(
        self,
        text: str | None = None,
        *,
        frame: Frame | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        box_labels: Sequence[int] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        point_labels: Sequence[int] | None = None,
    ) -> int:
        """Find a concept from the next frame on.

        Args:
            text: its words.
            frame: the frame that ``boxes`` and ``points`` are shown on.
            boxes: x, y, w, h normalised to the frame, each around one example.
            box_labels: 1 for "like this", 0 for "not like this"; all 1 when None.
            points: x, y normalised to the frame, each on one example.
            point_labels: as ``box_labels``.

        Returns:
            The ``prompt_id`` that its objects will carry. The same words without exemplars give
            the same id again.

        Raises:
            PromptError: neither words nor exemplars, or some that cannot be used.
        """
        shown = _exemplar(boxes, box_labels, points, point_labels)
        if text is None and not shown:
            raise PromptError("a concept needs a text, boxes or points")
        if text is not None:
            self._texts.encode_texts([text])
        if not shown:
            for concept in self._concepts.values():
                if concept.text == text and concept.exemplars is None:
                    return concept.prompt_id
        exemplars = self._encode_exemplars(frame, shown) if shown else None
        concept = Concept(self._next_prompt_id, text, exemplars)
        self._next_prompt_id += 1
        self._concepts[concept.prompt_id] = concept
        self._labels[concept.prompt_id] = concept.label
        self._batch = None
        return concept.prompt_id

    def _encode_exemplars(self, frame: Frame | None, shown: Exemplar) -> Tensor:
        if frame is None:
            raise PromptError("boxes and points need the frame that they are shown on")
        device = self.model.device
        tokens = self.model.detector.encode_exemplars(
            self._encode(frame).features,
            batch_exemplars([shown], device),
            torch.zeros(1, dtype=torch.int64, device=device),
        )
        return tokens.tokens[0][tokens.valid[0]]

    @torch.inference_mode()
    def find_now(self, frame: Frame, prompt_id: int) -> FrameResult:
        """Look for one concept on a frame and start tracking what is found, touching nothing else.

        A following :meth:`step` on the same frame gives the same objects.

        Raises:
            PromptError: there is no such concept.
        """
        if prompt_id not in self._concepts:
            raise PromptError(f"there is no concept {prompt_id}")
        encoded = self._encode(frame)
        found = self._detect(encoded.features, [self._concepts[prompt_id]])
        self._tracker.start_objects(frame.index, encoded.tracker, found, reverse=self._reverse)
        return self.at(frame)

    @torch.inference_mode()
    def add_object(
        self,
        frame: Frame,
        *,
        obj_id: int | None = None,
        points: Sequence[Sequence[float]] | None = None,
        point_labels: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        mask: NDArray[np.bool_] | None = None,
        clear_old_points: bool = True,
    ) -> int:
        """Start or refine one object by pointing at it; it is tracked from this frame on.

        Args:
            frame: the frame it is shown on.
            obj_id: an object to refine, or the id a new one is to have; None picks one.
            points: x, y normalised to the frame.
            point_labels: 1 on the object, 0 off it; all 1 when None.
            box: x, y, w, h normalised to the frame.
            mask: (H, W) of any size, true inside, covering the whole frame.
            clear_old_points: False adds the points to those given before on this frame.

        Returns:
            Its ``obj_id``.

        Raises:
            PromptError: nothing that can be used was given.
            SessionLimitError: there are too many objects.
        """
        encoded = self._encode(frame)
        prompted = self._tracker.add_object(
            frame.index,
            encoded.tracker,
            obj_id=obj_id,
            prompt_id=NO_CONCEPT,
            points=points,
            point_labels=point_labels,
            box=None if box is None else _corners(box),
            mask=None if mask is None else torch.as_tensor(mask),
            clear_old_points=clear_old_points,
            reverse=self._reverse,
        )
        return prompted.obj_id

    def remove_concept(self, prompt_id: int) -> list[int]:
        """Stop finding a concept and drop its objects.

        Returns:
            The ids of the objects that were dropped; empty when there was no such concept.
        """
        self._concepts.pop(prompt_id, None)
        self._batch = None
        return self._tracker.remove_prompt(prompt_id)

    def remove_object(self, obj_id: int) -> bool:
        """Drop one object; False when there is none of this id."""
        removed = self._tracker.remove_object(obj_id)
        if removed:
            self._delay.hide(obj_id)
        return removed

    # Frames

    @torch.inference_mode()
    def step(self, frame: Frame, *, reverse: bool = False) -> list[FrameResult]:
        """Take the next frame.

        Args:
            frame: indices go up by one, or down in ``reverse``; a jump is allowed, but memories
                older than the memory window do not help after it.
            reverse: the video runs backward.

        Returns:
            The results that are ready: this frame's when live, an earlier frame's or none yet when
            delayed.
        """
        encoded = self._encode(frame)
        detections = self._detect(encoded.features, self.concepts)
        self._reverse = reverse
        tracked = self._tracker.step(frame.index, encoded.tracker, detections, reverse=reverse)
        self._pending[frame.index] = (frame.pts_s, _size(frame))
        return [self._finish(ready) for ready in self._delay.push(tracked)]

    @torch.inference_mode()
    def flush(self) -> list[FrameResult]:
        """The results still held back, at the end of a video or before the direction changes."""
        return [self._finish(ready) for ready in self._delay.flush()]

    def at(self, frame: Frame) -> FrameResult:
        """The objects that were prompted or found on ``frame``, before it is stepped over."""
        tracked = self._tracker.prompted(frame.index)
        return self._result(tracked, frame.pts_s, _size(frame))

    def run(
        self,
        source: FrameSource,
        *,
        direction: Direction = "forward",
        start_frame: int = 0,
        max_frames: int | None = None,
    ) -> Iterator[FrameResult]:
        """Step over the frames of a source.

        Args:
            direction: "forward" from ``start_frame`` on; "backward" from the frame before it; or
                "both", one after the other.
            start_frame: 0-based.
            max_frames: at most this many frames in each direction; None takes all.

        Raises:
            InputError: the direction is unknown, or ``start_frame`` is not a frame of the source.
            SourceError: a frame cannot be decoded; the results before it were given.
        """
        if direction not in ("forward", "backward", "both"):
            raise InputError(
                f"direction is {direction!r}; it must be 'forward', 'backward' or 'both'"
            )
        if direction != "backward":
            yield from self._run_one_way(source.iterate(start_frame), max_frames, reverse=False)
        if direction != "forward" and start_frame > 0:
            frames = source.iterate(start_frame - 1, reverse=True)
            yield from self._run_one_way(frames, max_frames, reverse=True)

    def _run_one_way(
        self, frames: Iterator[Frame], max_frames: int | None, *, reverse: bool
    ) -> Iterator[FrameResult]:
        try:
            for frame in islice(frames, max_frames):
                yield from self.step(frame, reverse=reverse)
        except SourceError:
            yield from self.flush()  # the frames before the broken one are good
            raise
        finally:
            ready = self.flush()
        yield from ready

    # Parts of a step

    def _encode(self, frame: Frame) -> _Encoded:
        """Features of a frame; those of the last one are at hand still."""
        if self._encoded is None or self._encoded.frame_index != frame.index:
            model = self.model
            pixels = to_pixels(
                [frame.image], model.detector.config.image_size, model.device, model.dtype
            )
            features = model.detector.encode_image(pixels, tracker=True)
            self._encoded = _Encoded(frame.index, features)
        return self._encoded

    def _detect(self, features: ImageFeatures, concepts: list[Concept]) -> Detections:
        if not concepts:
            height, width = features.levels[0].shape[-2:]
            return Detections.empty((height, width), self.model.device)
        ids = torch.tensor([concept.prompt_id for concept in concepts], device=self.model.device)
        return self.model.detector.detect(
            features,
            self._concept_batch(concepts),
            ids,
            score_threshold=self.score_threshold,
            nms_iou=self._nms_iou,
        )[0]

    def _concept_batch(self, concepts: list[Concept]) -> ConceptBatch:
        """Concepts as one batch; that of all of them is kept until they change."""
        if self._batch is not None and len(concepts) == len(self._concepts):
            return self._batch
        batch = self._texts.batch([concept.text for concept in concepts])
        if any(concept.exemplars is not None for concept in concepts):
            none = batch.text.tokens.new_zeros(0, batch.text.tokens.shape[-1])
            shown = pad_tokens([none if c.exemplars is None else c.exemplars for c in concepts])
            batch = ConceptBatch(batch.text, batch.image_index, exemplars=shown)
        if len(concepts) == len(self._concepts):
            self._batch = batch
        return batch

    def _finish(self, tracked: TrackedFrame) -> FrameResult:
        pts_s, size = self._pending.pop(tracked.frame_index)
        return self._result(tracked, pts_s, size)

    def _result(
        self, tracked: TrackedFrame, pts_s: float | None, size: tuple[int, int]
    ) -> FrameResult:
        """A tracked frame at the video's size, without the objects that cannot be seen."""
        masks = resize_and_separate(
            tracked.low_res_masks, tracked.tracker_scores, tracked.prompt_ids, size
        )
        seen = masks.flatten(1).any(1)
        masks, kept = masks[seen], seen.nonzero().flatten().tolist()
        height, width = size
        boxes = boxes_from_masks(masks).float() / masks.new_tensor(
            [width, height, width, height], dtype=torch.float32
        )
        boxes[:, 2:] -= boxes[:, :2]
        return FrameResult(
            frame_index=tracked.frame_index,
            pts_s=pts_s,
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
        )


def _size(frame: Frame) -> tuple[int, int]:
    return frame.image.shape[0], frame.image.shape[1]


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
    """Rows of ``count`` numbers without faults.

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


def _exemplar(
    boxes: Sequence[Sequence[float]] | None,
    box_labels: Sequence[int] | None,
    points: Sequence[Sequence[float]] | None,
    point_labels: Sequence[int] | None,
) -> Exemplar:
    """Checked exemplars."""
    shown = Exemplar()
    if boxes:
        inside = normalised_boxes(_checked("boxes", boxes, 4, box_faults), 1.0, 1.0)
        shown.boxes = [(x + w / 2, y + h / 2, w, h) for x, y, w, h in inside]
    if points:
        unit = normalised_points(_checked("points", points, 2, point_faults), 1.0, 1.0)
        shown.points = list(unit)
    shown.box_labels = _checked_labels(box_labels, len(shown.boxes), "box")
    shown.point_labels = _checked_labels(point_labels, len(shown.points), "point")
    return shown
