"""The objects of a session between frames: made, corrected, removed, saved and restored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.errors import PromptError, SessionLimitError
from maskstream.core.masks import fill_holes_and_specks
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.association import within_limit
from maskstream.tracker.frame_plan import associate_seen, at_mask_size, is_established, observe
from maskstream.tracker.lifecycle import Masklet, Origin
from maskstream.tracker.lifecycle import keep_away as keep_from_view
from maskstream.tracker.masklet_store import MaskletStore
from maskstream.tracker.network.protocol import (
    Drawn,
    FrameView,
    MaskletPrediction,
    TrackerNetwork,
)
from maskstream.tracker.new_masklets import start_masklets
from maskstream.tracker.object_prompt import (
    Box,
    Coordinates,
    Labels,
    ObjectPrompt,
    object_prompt,
)
from maskstream.tracker.pins import Pin, with_pins
from maskstream.tracker.tracked_frame import FrameStats, TrackedFrame, frame_of
from maskstream.tracker.video_config import VideoConfig

NO_CONCEPT = -1
"""Prompt id of an object that belongs to no concept."""


MAX_KEPT_AWAY = 16
"""Removed objects that are followed at a time; they do not count among ``max_num_objects``."""


@dataclass(frozen=True, slots=True)
class PromptedObject:
    """An object that a user has just made or corrected.

    Attributes:
        masklet: its record.
        low_res_mask: (4h, 4w) float32 logits, its mask on the frame it was drawn on.
        iou_score: in [0, 1], the network's guess at the quality of the mask.
        tracker_score: in [0, 1], that the object is in the frame.
    """

    masklet: Masklet
    low_res_mask: Tensor
    iou_score: float
    tracker_score: float

    @property
    def obj_id(self) -> int:
        """Its lasting identity."""
        return self.masklet.obj_id


class PromptableTracker:
    """The objects of one video and what may be done to them between frames.

    Args:
        model: the network; may be shared between sessions.
        config: thresholds and rules.
        num_frames: length of the whole video. In videos shorter than the reach of object pointers
            transformers reaches less far back; give it to do the same. A stream of the same
            frames has no length, so it would give other results.
    """

    def __init__(
        self, model: TrackerNetwork, config: VideoConfig, *, num_frames: int | None = None
    ) -> None:
        self.model = model
        self.config = config
        self._num_frames = num_frames
        self.reset()

    def reset(self) -> None:
        """Forget everything; identities start from 0 again."""
        self._store = MaskletStore(self.model, self.config, self._num_frames)

    @property
    def masklets(self) -> tuple[Masklet, ...]:
        """The records of all masklets but those that are kept away, oldest first."""
        return tuple(masklet for masklet in self._store.masklets if masklet.is_shown)

    @torch.no_grad()
    def start_objects(
        self,
        frame_index: int,
        features: TrackerFeatures,
        detections: Detections,
        *,
        reverse: bool = False,
        size: tuple[int, int] | None = None,
    ) -> list[int]:
        """Start following what the detector found in a frame, before it is stepped over.

        Touches no other object. A following :meth:`step` over the frame, with these detections
        among its own, shows the same objects and starts none of them twice.

        Args:
            frame_index: 0-based.
            features: of this frame.
            detections: of the concepts that are new.
            reverse: the video has been played backwards up to here.
            size: (height, width) of the video, pixels.

        Returns:
            Identities of the new objects.

        Raises:
            InputError: features of another shape than the model's.
        """
        self._follow_model()
        store = self._store
        frame = store.memories.look(frame_index, features, reverse=reverse, size=size)
        found = at_mask_size(detections, self.model.mask_size)
        asked = set(found.prompt_ids.tolist())
        rows = [row for row, m in enumerate(self._store.masklets) if m.prompt_id in asked]
        prediction = self._predict(frame, frame_index, rows)
        masks, logits = prediction.low_res_masks, prediction.object_score_logits
        seen = observe(masks, logits, found, self.config.overlap)
        association = associate_seen(
            seen,
            [store.masklets[row].prompt_id for row in rows],
            is_established(store.masklets, store.is_pinned(frame_index), frame_index),
            self.config,
        )
        num_places = self.config.max_num_objects - store.num_shown
        association = within_limit(association, seen.detection_scores, num_places)
        started = start_masklets(
            frame_index, found, association.new_detections, store.next_obj_id, self.config
        )
        frame.start(started.start.found, started.prompt_ids).write()
        store.append(started.masklets)
        scores = started.start.scores.tolist()
        for masklet, mask, score in zip(
            started.masklets, started.start.low_res_masks, scores, strict=True
        ):
            store.pins.put(masklet.obj_id, frame_index, Pin.of_detection(mask.clone(), score))
        return [masklet.obj_id for masklet in started.masklets]

    @torch.no_grad()
    def add_object(
        self,
        frame_index: int,
        features: TrackerFeatures,
        *,
        obj_id: int | None = None,
        prompt_id: int = NO_CONCEPT,
        points: Coordinates | None = None,
        point_labels: Labels | None = None,
        box: Box | None = None,
        mask: Tensor | NDArray[np.generic] | None = None,
        clear_old_points: bool = True,
        refine: bool = True,
        reverse: bool = False,
        size: tuple[int, int] | None = None,
    ) -> PromptedObject:
        """Make one object, or correct one, on a frame that is not yet, or was just, stepped over.

        Touches no other object. The frame becomes a conditioning frame of this one, and a step
        over it shows the mask as it is returned here. What a user drew on is confirmed and stays.

        Args:
            frame_index: 0-based.
            features: of this frame.
            obj_id: the object to correct, or the identity of a new one; None picks one.
            prompt_id: concept of a new object; detections of it will match the object. An existing
                object keeps its own.
            points: (P, 2) x y, normalised to the frame: 0, 0 top left, 1, 1 bottom right.
            point_labels: (P,) 1 on the object, 0 off it; all 1 if None.
            box: (4,) x0 y0 x1 y1, normalised.
            mask: (H, W) bool of any size, covering the whole frame; without points or a box.
            clear_old_points: False adds to what was drawn on this frame before.
            refine: clicks and boxes start from the mask that the object has on the frame, if it
                has one; False: from nothing.
            reverse: the video has been played backwards up to here.
            size: (height, width) of the video, pixels.

        Raises:
            PromptError: a prompt that cannot be used, or a malformed ``obj_id``.
            SessionLimitError: there are ``max_num_objects`` objects already.
            InputError: features of another shape than the model's.
        """
        drawn = object_prompt(points, point_labels, box, mask)
        obj_id = _checked_id(obj_id)
        self._follow_model()
        row = self._row_to_draw_on(obj_id)
        earlier = None if obj_id is None else self._store.pins.get(obj_id, frame_index)
        if earlier is not None and not clear_old_points:
            drawn = drawn.after(earlier.points, earlier.point_labels, earlier.box)
        frame = self._store.memories.look(frame_index, features, reverse=reverse, size=size)
        answer = self._draw(frame, frame_index, row, drawn, refine)
        masklet = self._drawn_on(row, obj_id, prompt_id, frame_index)
        answer.memory.write()
        if row is None:
            self._store.append([masklet])
        else:
            self._store.put(row, masklet)
        prediction = answer.prediction
        masks = fill_holes_and_specks(prediction.low_res_masks.float(), self.config.fill_hole_area)
        pin = Pin.of_prompt(masks[0], float(prediction.object_score_logits), drawn)
        self._store.pins.put(masklet.obj_id, frame_index, pin)
        return PromptedObject(
            masklet, pin.low_res_mask, float(prediction.iou_scores), pin.tracker_score
        )

    def _draw(
        self,
        frame: FrameView,
        frame_index: int,
        row: int | None,
        drawn: ObjectPrompt,
        refine: bool,
    ) -> Drawn:
        """The answer to a prompt and the memory of it."""

        def previous() -> Tensor | None:
            if row is None or not refine:
                return None
            return self._predict(frame, frame_index, [row]).low_res_masks[0]

        is_first = row is not None and self._store.masklets[row].first_frame == frame_index
        return frame.draw(drawn, row, previous=previous, is_first=is_first)

    def _row_to_draw_on(self, obj_id: int | None) -> int | None:
        """The row of an object; None if it is a new one, for which there must be room."""
        store = self._store
        row = store.row_of(obj_id)
        is_new = row is None or not store.masklets[row].is_shown
        if is_new and store.num_shown >= self.config.max_num_objects:
            raise SessionLimitError(
                f"there are {store.num_shown} objects already, as many as max_num_objects "
                "allows; remove one first"
            )
        return row

    def _drawn_on(
        self, row: int | None, obj_id: int | None, prompt_id: int, frame_index: int
    ) -> Masklet:
        """The record of an object that a user has made or corrected."""
        if row is not None:
            return replace(
                self._store.masklets[row],
                origin=Origin.USER,
                confirmed=True,
                keep_alive=self.config.init_trk_keep_alive,
                duplicates={},
                kept_away=None,
            )
        return Masklet(
            obj_id=self._store.next_obj_id if obj_id is None else obj_id,
            prompt_id=prompt_id,
            first_frame=frame_index,
            origin=Origin.USER,
            confirmed=True,
            keep_alive=self.config.init_trk_keep_alive,
        )

    def prompted(self, frame_index: int) -> TrackedFrame:
        """The objects that were drawn or started on a frame which has not been stepped over."""
        pins = self._store.pinned(frame_index)
        given = [
            (m, pin)
            for m, pin in zip(self._store.masklets, pins, strict=True)
            if pin is not None and m.is_shown
        ]
        masks = [pin.low_res_mask for _, pin in given]
        nothing = torch.zeros(0, *self.model.mask_size, device=self._store.device)
        scores = [
            math.nan if pin.detection_score is None else pin.detection_score for _, pin in given
        ]
        return frame_of(
            frame_index,
            [masklet for masklet, _ in given],
            low_res_masks=torch.stack(masks) if masks else nothing,
            detection_scores=torch.tensor(scores, dtype=torch.float32),
            tracker_scores=torch.tensor([pin.tracker_score for _, pin in given]),
            not_shown=[False] * len(given),
            newly_removed=[],
            newly_confirmed=[],
            frame_stats=FrameStats(num_masklets=self._store.num_shown),
        )

    def remove_object(self, obj_id: int, *, keep_away: bool = False) -> bool:
        """Drop an object; False if there is none of this identity.

        Args:
            obj_id: its identity.
            keep_away: one that was found as part of a concept is followed on unseen, so that it is
                not found again while the detector sees it. To draw on it brings it back.
        """
        row = self._store.row_of(obj_id)
        if row is None or not self._store.masklets[row].is_shown:
            return False
        masklet = self._store.masklets[row]
        if not keep_away or masklet.prompt_id < 0:
            self._store.drop({obj_id})
            return True
        self._store.put(row, keep_from_view(masklet))
        self._forget_surplus()
        return True

    def is_kept_away(self, obj_id: int) -> bool:
        """Whether an object was removed and is followed so that it is not found again."""
        row = self._store.row_of(obj_id)
        return row is not None and not self._store.masklets[row].is_shown

    def _follow_model(self) -> None:
        """While nothing is remembered, memories begin where the model is now."""
        store = self._store
        if not store.masklets and store.device != self.model.device:
            self._store = MaskletStore(self.model, self.config, self._num_frames)
            self._store.next_obj_id = store.next_obj_id

    def _forget_surplus(self) -> None:
        """Of more than ``MAX_KEPT_AWAY``, forget the one that has gone unseen for longest."""
        away = [(m.kept_away, m.obj_id) for m in self._store.masklets if m.kept_away is not None]
        if len(away) > MAX_KEPT_AWAY:
            longest = max(unseen for unseen, _ in away)
            self._store.drop({next(obj_id for unseen, obj_id in away if unseen == longest)})

    def remove_prompt(self, prompt_id: int) -> list[int]:
        """Stop following all objects of a concept; returns the identities of those shown."""
        gone = [m for m in self._store.masklets if m.prompt_id == prompt_id]
        self._store.drop({masklet.obj_id for masklet in gone})
        return [masklet.obj_id for masklet in gone if masklet.is_shown]

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU and plain data, enough to go on exactly as if nothing had happened."""
        return self._store.state_dict()

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` of a tracker of the same model gave.

        Raises:
            CheckpointError: an entry is missing or does not fit; nothing is changed.
        """
        self._store = MaskletStore.from_state_dict(self.model, self.config, self._num_frames, state)

    def _predict(
        self, frame: FrameView, frame_index: int, rows: Sequence[int]
    ) -> MaskletPrediction:
        """The network's answer for some masklets; one pinned on this frame keeps its mask."""
        store = self._store
        pins = store.pins.of([store.masklets[row] for row in rows], frame_index)
        answer = frame.predict([row for row, pin in zip(rows, pins, strict=True) if pin is None])
        answer = replace(
            answer,
            low_res_masks=answer.low_res_masks.float(),
            object_score_logits=answer.object_score_logits.float(),
        )
        return with_pins(answer, pins)


def _checked_id(obj_id: int | None) -> int | None:
    """An identity as a plain integer; numpy's are taken too.

    Raises:
        PromptError: it is none.
    """
    if obj_id is None:
        return None
    if isinstance(obj_id, bool) or not hasattr(obj_id, "__index__") or obj_id < 0:
        raise PromptError(f"obj_id is {obj_id!r}; it must be an integer from 0 on")
    return int(obj_id)
