"""The tracker of one session: features and detections in, frame by frame, masklets out.

What a frame does is decided first (:mod:`maskstream.tracker.frame_plan`), then encoded
(:mod:`maskstream.tracker.frame_memory`), and only then written down, so that a step that fails on
the way leaves the session as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.masks import fill_holes_and_specks
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.frame_memory import (
    FrameMemory,
    as_drawn,
    remember,
    remember_predicted,
    take,
)
from maskstream.tracker.frame_plan import FramePlan, at_mask_size, observe, plan_frame
from maskstream.tracker.model import FrameEmbedding, MaskletPrediction
from maskstream.tracker.new_masklets import (
    NewMasklets,
    TakenUp,
    drawn_from,
    start_masklets,
    take_up,
)
from maskstream.tracker.overlap import NO_OBJECT_LOGIT
from maskstream.tracker.pins import Pin
from maskstream.tracker.promptable import NO_CONCEPT, PromptableTracker, PromptedObject
from maskstream.tracker.tracked_frame import FrameStats, TrackedFrame, frame_of

__all__ = ["NO_CONCEPT", "PromptedObject", "TrackedFrame", "VideoTracker"]


class VideoTracker(PromptableTracker):
    """Follows the objects of one video. Not thread-safe: one frame or prompt at a time.

    Memory and time a frame depend on the number of masklets, never on the frame's number. A step
    waits for the device when overlaps and scores come to the host, and once more if new masklets
    start.
    """

    @torch.no_grad()
    def step(
        self,
        frame_index: int,
        features: TrackerFeatures,
        detections: Detections,
        *,
        reverse: bool = False,
    ) -> TrackedFrame:
        """Follow all masklets into a frame and take up what the detector found in it.

        Args:
            frame_index: 0-based.
            features: of this frame.
            detections: of this frame, above the detector's threshold, suppression done.
            reverse: the video is played backwards.

        Raises:
            InputError: features of another shape than the model's.
        """
        config, model, store = self.config, self.model, self._store
        frame = model.embed(features)
        found = at_mask_size(detections, model.mask_size)
        prediction = self._predict(frame, frame_index, range(len(store)), reverse)
        masks = fill_holes_and_specks(prediction.low_res_masks, config.fill_hole_area)
        seen = observe(masks, prediction.object_score_logits, found)
        pinned = store.is_pinned(frame_index)
        plan = plan_frame(store.masklets, seen, pinned, frame_index, reverse, config)
        masks = _put(masks, plan.suppressed | plan.resumed, NO_OBJECT_LOGIT)
        memory = remember(
            model,
            frame,
            self._masks_to_remember(masks, found, plan),
            store.prompt_ids(),
            prediction.object_pointers,
            plan.to_remember,
        )
        resumed = self._resume(frame, found, plan)
        chosen = plan.association.new_detections
        started = start_masklets(
            model, frame, frame_index, found, chosen, store.next_obj_id, config
        )
        again = self._encode_again(frame, prediction, plan) if len(started) else None
        pins = store.pinned(frame_index)
        self._commit(frame_index, plan, memory, resumed, started, again)
        return self._tell(frame_index, pins, masks, found, plan, resumed, started)

    def _masks_to_remember(self, masks: Tensor, found: Detections, plan: FramePlan) -> Tensor:
        rows = np.flatnonzero(plan.reconditioned)
        if self.config.recondition_on_trk_masks or not rows.size:
            return masks
        drawn = drawn_from(found, plan.association.confirming[rows])
        return masks.index_copy(0, torch.from_numpy(rows).to(masks.device), as_drawn(drawn))

    def _resume(self, frame: FrameEmbedding, found: Detections, plan: FramePlan) -> TakenUp | None:
        """What masklets that were out of sight go on from; None where there is none of them."""
        if not plan.resumed.any():
            return None
        chosen = plan.association.resumed[plan.resumed]
        return take_up(self.model, frame, found, chosen, self.config)

    def _encode_again(
        self, frame: FrameEmbedding, prediction: MaskletPrediction, plan: FramePlan
    ) -> tuple[list[int], Tensor] | None:
        """Maps that transformers puts in place of the frame's when objects are added to it."""
        rows = [row for row in plan.to_remember if not plan.reconditioned[row]]
        if not self.config.reencode_memory_on_new_objects or not rows:
            return None
        unprocessed = replace(
            prediction,
            low_res_masks=take(prediction.low_res_masks, rows),
            object_score_logits=take(prediction.object_score_logits, rows),
        )
        return rows, remember_predicted(self.model, frame, unprocessed).maps

    def _commit(
        self,
        frame_index: int,
        plan: FramePlan,
        memory: FrameMemory,
        resumed: TakenUp | None,
        started: NewMasklets,
        again: tuple[list[int], Tensor] | None,
    ) -> None:
        """Write a frame down. Room for new masklets comes first: that is what can fail."""
        store, bank = self._store, self._store.bank
        store.append(started.masklets, frame_index, started.start.memory)
        rows = plan.to_remember
        bank.write(rows, frame_index, memory.maps, memory.pointers, conditioning=False)
        if resumed is not None:
            back = np.flatnonzero(plan.resumed)
            bank.forget_recent(back)
            kept = resumed.memory
            bank.write(back, frame_index, kept.maps, kept.pointers, conditioning=True)
        bank.make_conditioning(np.flatnonzero(plan.reconditioned), frame_index)
        if again is not None:
            bank.write_maps(again[0], frame_index, again[1])
        store.update(plan.masklets)
        store.drop(set(plan.ids(plan.removed | plan.forgotten)))

    def _tell(
        self,
        frame_index: int,
        pins: Sequence[Pin | None],
        masks: Tensor,
        found: Detections,
        plan: FramePlan,
        resumed: TakenUp | None,
        started: NewMasklets,
    ) -> TrackedFrame:
        """The outcome of a frame that has been written down."""
        rows = np.flatnonzero(plan.reconditioned)
        if rows.size:
            confirming = torch.from_numpy(plan.association.confirming[rows]).to(masks.device)
            index = torch.from_numpy(rows).to(masks.device)
            masks = masks.index_copy(0, index, found.masks[confirming].float())
        tracker_scores = torch.from_numpy(plan.object_score_logits).sigmoid()
        if resumed is not None:
            back = torch.from_numpy(np.flatnonzero(plan.resumed))
            masks = masks.index_copy(0, back.to(masks.device), resumed.low_res_masks)
            tracker_scores = tracker_scores.index_copy(0, back, resumed.scores)
        masks = _put(masks, plan.hidden, NO_OBJECT_LOGIT)
        for row, pin in enumerate(pins):
            if pin is not None:
                tracker_scores[row] = pin.tracker_score
        kept = np.flatnonzero(~plan.removed & ~plan.kept_away).tolist()
        shown = [masklet for masklet in self._store.masklets if masklet.is_shown]
        not_shown = [*plan.not_shown[kept].tolist(), *([False] * len(started))]
        at_once = [masklet.obj_id for masklet in started.masklets if masklet.confirmed]
        newly_confirmed = [*plan.ids(plan.newly_confirmed), *at_once]
        return frame_of(
            frame_index,
            shown,
            low_res_masks=torch.cat([take(masks, kept), started.start.low_res_masks]),
            detection_scores=torch.cat(
                [torch.from_numpy(plan.association.scores[kept]), started.start.scores]
            ),
            tracker_scores=torch.cat([tracker_scores[kept], started.start.scores]),
            not_shown=not_shown,
            newly_removed=plan.ids(plan.removed),
            newly_confirmed=newly_confirmed,
            frame_stats=FrameStats(
                num_detections=len(found),
                num_masklets=len(shown),
                num_new=len(started),
                num_confirmed=len(newly_confirmed),
                num_removed=int(plan.removed.sum()),
                num_suppressed=sum(not_shown),
                num_reconditioned=int(rows.size),
                num_resumed=int(plan.resumed.sum()),
                num_dropped=plan.association.num_dropped,
                num_kept_away=len(self._store) - len(shown),
            ),
        )


def _put(masks: Tensor, rows: NDArray[np.bool_], value: float) -> Tensor:
    """The masks with some of them set to one value."""
    if not rows.any():
        return masks
    index = torch.from_numpy(np.flatnonzero(rows)).to(masks.device)
    return masks.index_fill(0, index, value)
