"""`VideoSegmenter`: frames in, masks with lasting identities out, in one process.

One verb, :meth:`VideoSegmenter.step`, takes the next frame. Concepts and objects may be added and
removed between any two frames; what is already tracked is not touched by that.
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
        dtype: torch.dtype | str = torch.float32,
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
        """Detections above this joint score count."""
        return self._rules.score_threshold

    @property
    def concepts(self) -> list[Concept]:
        """The concepts in force, oldest first."""
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
        """Look for one concept on a frame and start tracking what is found, touching nothing else.

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
        return self._tracking.add_object(
            stamp_of(frame),
            self._encode(frame).tracker,
            obj_id=obj_id,
            points=points,
            point_labels=point_labels,
            box=box,
            mask=mask,
            clear_old_points=clear_old_points,
        )

    def remove_concept(self, prompt_id: int) -> list[int]:
        """Stop finding a concept and drop its objects.

        Returns:
            The ids of the objects that were dropped; empty when there was no such concept.
        """
        return self._tracking.remove_concept(prompt_id)

    def remove_object(self, obj_id: int) -> bool:
        """Drop one object; False when there is none of this id."""
        return self._tracking.remove_object(obj_id)

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
        found = self._detector.detect(encoded.features, self.concepts, self._rules)
        return self._tracking.step(stamp_of(frame), encoded.tracker, found, reverse=reverse)

    def flush(self) -> list[FrameResult]:
        """The results still held back, at the end of a video or before the direction changes."""
        return self._tracking.flush()

    def at(self, frame: Frame) -> FrameResult:
        """The objects that were prompted or found on ``frame``, before it is stepped over."""
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

    def _encode(self, frame: Frame) -> _Encoded:
        """Features of a frame; those of the last one are at hand still."""
        if self._encoded is None or self._encoded.frame_index != frame.index:
            self._encoded = _Encoded(frame.index, self._detector.encode([frame.image]))
        return self._encoded


def stamp_of(frame: Frame) -> FrameStamp:
    """A frame without its picture."""
    return FrameStamp(frame.index, frame.pts_s, size=(frame.image.shape[0], frame.image.shape[1]))
