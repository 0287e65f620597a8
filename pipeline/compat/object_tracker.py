"""Objects of a video, by the calls of SAM 2's video predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maskstream.core.errors import PromptError
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import FrameDetector
from maskstream.pipeline.sources import Frame, FrameSource, open_source
from maskstream.pipeline.video.model import VideoModel
from maskstream.tracker.network.maps import NO_OBJECT_LOGIT, resize
from maskstream.tracker.tracked_frame import TrackedFrame
from maskstream.tracker.video_tracker import VideoTracker

State = dict[str, Any]
Prompted = tuple[int, list[int], Tensor, Tensor]
"""The frame's index, all N identities, their masks (N, 1, h, w) in low resolution and (N, 1, H, W)
at the video's size, as logits: > 0 is inside."""
Propagated = tuple[int, list[int], Tensor, Tensor, Tensor]
"""The same, and object scores (N, 1) as logits: > 0 is in the frame."""


class ObjectTracker:
    """Follows what is clicked, boxed or drawn in videos.

    The state of a video is the dictionary that :meth:`init_state` returns; it holds ``num_frames``,
    ``video_height``, ``video_width`` and ``obj_ids``. Frames are read when they are needed.

    Args:
        model: gives the model when a state is made.
    """

    def __init__(self, model: Callable[[], VideoModel]) -> None:
        self._model = model
        self.backbone: Any = None
        """Programs for SAM 3 set it; features come from the model's own in any case."""

    def init_state(self, video_path: Any, **unused: Any) -> State:
        """Open a video.

        Args:
            video_path: what ``open_source`` takes: a file, a folder, pictures in memory.
            unused: options of the original about where frames are kept; they are not kept.

        Raises:
            SourceError: the video cannot be opened.
        """
        video = _Video(self._model(), open_source(_path_of(video_path)))
        info = video.source.info
        return {
            "num_frames": info.num_frames or video.source.count_frames(),
            "video_height": info.height,
            "video_width": info.width,
            "obj_ids": [],
            "video": video,
        }

    def add_new_points_or_box(
        self,
        inference_state: State,
        frame_idx: int,
        obj_id: int,
        points: ArrayLike | Tensor | None = None,
        labels: ArrayLike | Tensor | None = None,
        clear_old_points: bool = True,
        rel_coordinates: bool = True,
        use_prev_mem_frame: bool = False,
        normalize_coords: bool = True,
        box: ArrayLike | Tensor | None = None,
    ) -> Prompted:
        """Make or correct an object with clicks and a box.

        Args:
            inference_state: of the video.
            frame_idx: the frame that is drawn on.
            obj_id: the object.
            points: (P, 2) x, y.
            labels: (P,) 1 on the object, 0 beside it.
            clear_old_points: False adds to what was drawn on this frame before.
            rel_coordinates: coordinates span 0 to 1; otherwise they are pixels of the video.
            use_prev_mem_frame: not used: an object always knows what it remembers.
            normalize_coords: not used.
            box: (4,) x0, y0, x1, y1.

        Raises:
            PromptError: nothing was drawn, or what cannot be used.
            InputError: there is no such frame.
        """
        width, height = inference_state["video_width"], inference_state["video_height"]
        unit = np.ones(2) if rel_coordinates else np.array([width, height])
        return self._add(
            inference_state,
            frame_idx,
            obj_id,
            points=None if points is None else _rows(points, 2) / unit,
            point_labels=None if labels is None else _array(labels).reshape(-1),
            box=None if box is None else (_rows(box, 4) / np.tile(unit, 2)).reshape(-1),
            clear_old_points=clear_old_points,
        )

    add_new_points = add_new_points_or_box

    def add_new_mask(
        self, inference_state: State, frame_idx: int, obj_id: int, mask: ArrayLike | Tensor
    ) -> Prompted:
        """Make or correct an object with a mask (H, W) of any size that covers the whole frame."""
        drawn = _array(mask) > 0
        return self._add(inference_state, frame_idx, obj_id, mask=drawn)

    def clear_all_points_in_video(self, inference_state: State) -> None:
        """Forget all objects."""
        _video_of(inference_state).reset()
        inference_state["obj_ids"] = []

    reset_state = clear_all_points_in_video

    def remove_object(
        self,
        inference_state: State,
        obj_id: int,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[int], list[Any]]:
        """Drop an object; returns the identities that are left, and an empty list.

        Raises:
            PromptError: there is no such object, and ``strict`` is true.
        """
        video = _video_of(inference_state)
        if not video.tracker.remove_object(obj_id) and strict:
            raise PromptError(f"there is no object {obj_id} to remove")
        inference_state["obj_ids"] = video.obj_ids
        return video.obj_ids, []

    def propagate_in_video_preflight(self, inference_state: State, **unused: Any) -> None:
        """Nothing is left to prepare."""
        _video_of(inference_state)

    def propagate_in_video(
        self,
        inference_state: State,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        **unused: Any,
    ) -> Iterator[Propagated]:
        """Follow all objects over the video.

        Args:
            inference_state: of the video.
            start_frame_idx: where to start; None: the first frame that was drawn on.
            max_frame_num_to_track: the last frame is so far from the start; None or -1: to the end.
            reverse: go backward, from the start on.
            unused: options of the original that are about its progress bar and its own memory.

        Raises:
            PromptError: there is no object.
        """
        video = _video_of(inference_state)
        if video.first_drawn is None or not video.obj_ids:
            raise PromptError("there is no object to follow; add one with add_new_points_or_box")
        start = video.first_drawn if start_frame_idx is None else start_frame_idx
        stop = None
        if max_frame_num_to_track not in (None, -1):
            reach = int(max_frame_num_to_track)
            stop = start - reach - 1 if reverse else start + reach + 1
        for frame in video.source.iterate(start, stop, reverse=reverse):
            yield video.step(frame, reverse)

    def _add(self, state: State, frame_idx: int, obj_id: int, **drawn: Any) -> Prompted:
        video = _video_of(state)
        prompted = video.add(frame_idx, obj_id, drawn)
        state["obj_ids"] = video.obj_ids
        return prompted


class _Video:
    """A video, its objects, and the features of the frame that was seen last."""

    def __init__(self, model: VideoModel, source: FrameSource) -> None:
        self.source = source
        self.tracker = VideoTracker(model.tracker, model.config)
        self.first_drawn: int | None = None
        self._model = model
        self._detector = FrameDetector(model.detector)
        self._seen: tuple[int, TrackerFeatures] | None = None
        self._reverse = False

    @property
    def obj_ids(self) -> list[int]:
        return [masklet.obj_id for masklet in self.tracker.masklets]

    def reset(self) -> None:
        self.tracker.reset()
        self.first_drawn = None

    @torch.inference_mode()
    def add(self, frame_index: int, obj_id: int, drawn: dict[str, Any]) -> Prompted:
        features = self._features(self.source.read(frame_index))
        self.tracker.add_object(
            frame_index, features, obj_id=int(obj_id), reverse=self._reverse, **drawn
        )
        earlier = self.first_drawn
        self.first_drawn = frame_index if earlier is None else min(earlier, frame_index)
        return self._told(self.tracker.prompted(frame_index))

    @torch.inference_mode()
    def step(self, frame: Frame, reverse: bool) -> Propagated:
        self._reverse = reverse
        features = self._features(frame)
        nothing = Detections.empty(self._model.tracker.mask_size, self._model.device)
        tracked = self.tracker.step(frame.index, features, nothing, reverse=reverse)
        scores = torch.logit(tracked.tracker_scores, eps=1e-6)
        return (*self._told(tracked), scores[:, None])

    def _features(self, frame: Frame) -> TrackerFeatures:
        if self._seen is None or self._seen[0] != frame.index:
            encoded = self._detector.encode([frame.image])
            self._seen = (frame.index, encoded.tracker_features(0))
        return self._seen[1]

    def _told(self, tracked: TrackedFrame) -> Prompted:
        """The masks of all objects; those that the frame does not have are empty."""
        ids = self.obj_ids
        mask_size = self._model.tracker.mask_size
        low = torch.full((len(ids), *mask_size), NO_OBJECT_LOGIT, device=self._model.device)
        for row, obj_id in enumerate(tracked.obj_ids):
            low[ids.index(obj_id)] = tracked.low_res_masks[row]
        info = self.source.info
        full = resize(low, (info.height, info.width), antialias=False)
        return tracked.frame_index, ids, low[:, None], full[:, None]


def _video_of(state: State) -> _Video:
    video = state.get("video") if isinstance(state, dict) else None
    if not isinstance(video, _Video):
        raise PromptError("give the state that init_state returned")
    return video


def _rows(values: ArrayLike | Tensor, width: int) -> NDArray[np.float64]:
    """(..., width) numbers as (N, width)."""
    try:
        return _array(values).astype(np.float64).reshape(-1, width)
    except (TypeError, ValueError) as error:
        raise PromptError(f"expected rows of {width} numbers: {error}") from error


def _array(values: ArrayLike | Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _path_of(video_path: Any) -> Any:
    return Path(video_path) if isinstance(video_path, str) else video_path
