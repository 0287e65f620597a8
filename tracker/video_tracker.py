"""The tracker of one session: features and detections in, frame by frame, masklets out.

What a frame does is decided first (:mod:`maskstream.tracker.frame_plan`), then encoded by the
network, and only then written down, so that a step that fails on the way leaves the session as it
was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.masks import fill_holes_and_specks
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.frame_plan import FramePlan, at_mask_size, observe, plan_frame
from maskstream.tracker.network.protocol import FrameChanges, MaskletPrediction, Pending
from maskstream.tracker.new_masklets import (
    NewMasklets,
    TakenUp,
    found_for,
    start_masklets,
    take_up,
)
from maskstream.tracker.overlap import NO_OBJECT_LOGIT, mixed
from maskstream.tracker.pins import Pin
from maskstream.tracker.promptable import NO_CONCEPT, PromptableTracker, PromptedObject
from maskstream.tracker.rows import take
from maskstream.tracker.tracked_frame import FrameStats, TrackedFrame, frame_of
from maskstream.tracker.video_config import SAM31_RULES

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
        size: tuple[int, int] | None = None,
    ) -> TrackedFrame:
        """Follow all masklets into a frame and take up what the detector found in it.

        Args:
            frame_index: 0-based.
            features: of this frame.
            detections: of this frame, above the detector's threshold, suppression done.
            reverse: the video is played backwards.
            size: (height, width) of the video, pixels.

        Raises:
            InputError: features of another shape than the model's.
        """
        self._follow_model()
        config, store = self.config, self._store
        frame = store.memories.look(frame_index, features, reverse=reverse, size=size)
        found = at_mask_size(detections, self.model.mask_size)
        prediction = self._predict(frame, frame_index, range(len(store)))
        masks = fill_holes_and_specks(prediction.low_res_masks, config.fill_hole_area)
        seen = observe(masks, prediction.object_score_logits, found, config.overlap)
        pinned = store.is_pinned(frame_index)
        plan = plan_frame(store.masklets, seen, pinned, frame_index, reverse, config)
        masks = self._corrected(masks, found, plan)
        masks = _put(masks, plan.suppressed | plan.resumed, NO_OBJECT_LOGIT)
        resumed = self._resume(found, plan)
        chosen = plan.association.new_detections
        started = start_masklets(frame_index, found, chosen, store.next_obj_id, config)
        memory = frame.remember(self._changes(prediction, masks, found, pinned, plan, started))
        pins = store.pinned(frame_index)
        self._commit(plan, memory, started)
        return self._tell(frame_index, pins, masks, found, plan, resumed, started)

    def _corrected(self, masks: Tensor, found: Detections, plan: FramePlan) -> Tensor:
        """The masks, of which SAM 3.1's rules let reconditioned ones take over what differs."""
        rows = np.flatnonzero(plan.reconditioned)
        if self.config.association_rules != SAM31_RULES or not rows.size:
            return masks
        index = torch.from_numpy(rows).to(masks.device)
        confirming = found_for(found, rows, plan.association.confirming[rows]).logits
        return masks.index_copy(0, index, mixed(masks[index], confirming))

    def _resume(self, found: Detections, plan: FramePlan) -> TakenUp | None:
        """What masklets that were out of sight go on from; None where there is none of them."""
        if not plan.resumed.any():
            return None
        return take_up(found, plan.association.resumed[plan.resumed], self.config)

    def _changes(
        self,
        prediction: MaskletPrediction,
        masks: Tensor,
        found: Detections,
        pinned: NDArray[np.bool_],
        plan: FramePlan,
        started: NewMasklets,
    ) -> FrameChanges:
        """What the network is to remember of a frame."""
        reconditioned, resumed = np.flatnonzero(plan.reconditioned), np.flatnonzero(plan.resumed)
        association = plan.association
        return FrameChanges(
            prediction=prediction,
            masks=masks,
            prompt_ids=self._store.prompt_ids(),
            to_remember=plan.to_remember,
            given=np.flatnonzero(pinned).tolist(),
            reconditioned=found_for(found, reconditioned, association.confirming[reconditioned]),
            resumed=found_for(found, resumed, association.resumed[resumed]),
            started=started.start.found,
            started_prompts=started.prompt_ids,
        )

    def _commit(self, plan: FramePlan, memory: Pending, started: NewMasklets) -> None:
        """Write a frame down. Memories come first: there is what can fail."""
        store = self._store
        memory.write()
        store.append(started.masklets)
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
