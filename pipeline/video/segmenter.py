"""``VideoSegmenter``: finds and tracks objects in a video, in one process.

:meth:`VideoSegmenter.step` takes the next frame and returns masks with lasting identities. Concepts
and objects may be added and removed between any two frames, without effect on other objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.errors import InputError, PromptError, SourceError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.core.types import TrackerFeatures
from maskstream.detector.frames import Concept, FrameDetector
from maskstream.detector.model import ImageFeatures
from maskstream.detector.prompts import Exemplar
from maskstream.pipeline.api.fields import Direction
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sources import Frame, FrameSource
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.tracking import (
    OBJECT_LABEL,
    SessionTracking,
    detection_rules,
    shown_exemplar,
)

__all__ = ["OBJECT_LABEL", "Concept", "Direction", "Latency", "VideoSegmenter"]


@dataclass(frozen=True, slots=True)
class _Encoded:
    frame_index: int
    features: ImageFeatures

    @property
    def tracker(self) -> TrackerFeatures:
        return self.features.tracker_features(0)


class VideoSegmenter:
    """Segments one video.

    Args:
        model: the video model; segmenters may share it.
        latency: "delayed": results come late by the hot start, without the objects that turned out
            to be spurious in that time. "live": results come at once, with young objects marked
            provisional.
        score_threshold: least joint score of a detection; None takes the model's own.

    Raises:
        InputError: an unknown latency, or a threshold outside of [0, 1].
    """

    def __init__(
        self,
        model: VideoModel,
        *,
        latency: Latency = "delayed",
        score_threshold: float | None = None,
    ) -> None:
        self.model = model
        self.latency = latency
        self._rules = detection_rules(model.config, score_threshold)
        self._detector = FrameDetector(model.detector)
        self._tracking = SessionTracking(model.tracker, model.config, latency=latency)
        self._encoded: _Encoded | None = None

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        latency: Latency = "delayed",
        score_threshold: float | None = None,
    ) -> VideoSegmenter:
        """Load a checkpoint and segment with it; see ``VideoModel.from_checkpoint``."""
        model = VideoModel.from_checkpoint(checkpoint, device=device, dtype=dtype)
        return cls(model, latency=latency, score_threshold=score_threshold)

    def reset(self) -> None:
        """Forget all prompts, objects and pending results."""
        self._tracking.reset()
        self._encoded = None

    @property
    def score_threshold(self) -> float:
        """The least joint score of a detection."""
        return self._rules.score_threshold

    @property
    def concepts(self) -> list[Concept]:
        """The concepts that are being found, oldest first."""
        return self._tracking.concepts

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
            text: the concept's words.
            frame: the frame that ``boxes`` and ``points`` refer to.
            boxes: x, y, w, h normalised to the frame, each around one example.
            box_labels: 1 for "like this", 0 for "not like this"; all 1 when None.
            points: x, y normalised to the frame, each on one example.
            point_labels: as ``box_labels``.

        Returns:
            The ``prompt_id`` of its objects. The same words without exemplars give the same id
            again.

        Raises:
            PromptError: neither words nor exemplars were given, or they cannot be used.
        """
        shown = shown_exemplar(boxes, box_labels, points, point_labels)
        if text is None and not shown:
            raise PromptError("a concept needs a text, boxes or points")
        if text is not None:
            self._detector.check_text(text)
        exemplars = self._encode_exemplars(frame, shown) if shown else None
        return self._tracking.add_concept(text, exemplars)

    def _encode_exemplars(self, frame: Frame | None, shown: Exemplar) -> Tensor:
        if frame is None:
            raise PromptError("boxes and points need the frame that they are shown on")
        return self._detector.encode_exemplar(self._encode(frame).features, shown)

    @torch.inference_mode()
    def find_now(self, frame: Frame, prompt_id: int) -> FrameResult:
        """Find one concept on a frame and start tracking its objects; others are not affected.

        A following :meth:`step` on the same frame gives the same objects.

        Raises:
            PromptError: there is no such concept.
        """
        concept = self._tracking.concept(prompt_id)
        encoded = self._encode(frame)
        found = self._detector.detect(encoded.features, [concept], self._rules)
        self._tracking.start_found(stamp_of(frame), encoded.tracker, found)
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
        label: str | None = None,
    ) -> int:
        """Start or refine one object by pointing at it; it is tracked from this frame on.

        Args:
            frame: the frame that the prompt refers to.
            obj_id: id of the object to refine, or of a new one; None picks a new id.
            points: x, y normalised to the frame.
            point_labels: 1 on the object, 0 off it; all 1 when None.
            box: x, y, w, h normalised to the frame.
            mask: (H, W) bool of any size, for the whole frame; true inside the object.
            clear_old_points: False adds the points to those given before on this frame.
            label: what results call a new object; None: "object". An object keeps its label.

        Returns:
            The object's ``obj_id``.

        Raises:
            PromptError: no prompt was given, or it cannot be used.
            SessionLimitError: there are too many objects.
        """
        return self._tracking.add_object(
            stamp_of(frame),
            self._encode(frame).tracker,
            obj_id=obj_id,
            points=points,
            point_labels=point_labels,
            box=box,
            mask=mask,
            clear_old_points=clear_old_points,
            label=label,
        )

    def remove_concept(self, prompt_id: int) -> list[int]:
        """Stop finding a concept and drop its objects.

        Returns:
            Ids of the objects that were dropped; empty if there was no such concept.
        """
        return self._tracking.remove_concept(prompt_id)

    def remove_object(self, obj_id: int, *, keep_away: bool = True) -> bool:
        """Drop one object; False if there is no such object.

        Args:
            obj_id: the object.
            keep_away: one that was found by words or examples is kept away while it is in view: it
                is followed on unseen, so that it is not found again. It may come back when the
                detector has not seen it for 30 frames. To draw on it, by its id, brings it back at
                once. False drops it without this.
        """
        return self._tracking.remove_object(obj_id, keep_away=keep_away)

    # Frames

    @torch.inference_mode()
    def step(self, frame: Frame, *, reverse: bool = False) -> list[FrameResult]:
        """Take the next frame.

        Args:
            frame: the index goes up by one, or down by one in ``reverse``. A jump is allowed, but
                memories that then lie outside the memory window do not help.
            reverse: the video runs backward.

        Returns:
            The results that are ready: live, that of this frame; delayed, that of an earlier frame,
            or none yet.
        """
        encoded = self._encode(frame)
        found = self._detector.detect(encoded.features, self.concepts, self._rules)
        return self._tracking.step(stamp_of(frame), encoded.tracker, found, reverse=reverse)

    def flush(self) -> list[FrameResult]:
        """Returns the held-back results, at the end of a video or before the direction changes."""
        return self._tracking.flush()

    def at(self, frame: Frame) -> FrameResult:
        """Returns the objects that were prompted or found on a frame, before ``step`` takes it."""
        return self._tracking.at(stamp_of(frame))

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
            source: gives the frames.
            direction: "forward" from ``start_frame`` on, "backward" from the frame before it, or
                "both", forward first.
            start_frame: index of the first frame, 0-based.
            max_frames: largest number of frames in each direction; None takes all.

        Raises:
            InputError: the direction is unknown, or ``start_frame`` is not a frame of the source.
            SourceError: a frame cannot be decoded. The results of the frames before it came first.
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

    def _encode(self, frame: Frame) -> _Encoded:
        """Encode a frame, unless it is the one that was encoded last."""
        if self._encoded is None or self._encoded.frame_index != frame.index:
            self._encoded = _Encoded(frame.index, self._detector.encode([frame.image]))
        return self._encoded


def stamp_of(frame: Frame) -> FrameStamp:
    """The stamp of a frame: all but its picture."""
    return FrameStamp(frame.index, frame.pts_s, size=(frame.image.shape[0], frame.image.shape[1]))
