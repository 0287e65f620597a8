"""Which detections belong to which masklets. Pure functions of small arrays on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskstream.tracker.video_config import VideoConfig

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

NO_DETECTION = -1


@dataclass(frozen=True, slots=True)
class Association:
    """The answer for one frame, for D detections and N masklets.

    Attributes:
        matches: (D, N) bool, the detection overlaps the masklet at least loosely.
        is_unmatched: (N,) bool, the masklet has a mask that no detection overlaps closely.
        is_empty: (N,) bool, the masklet has no mask in this frame.
        sighted: (N,) int64, the detection that overlaps the masklet most, and at least loosely,
            or -1.
        scores: (N,) float32, the score of the closely overlapping detection with the highest
            overlap; NaN where there is none.
        confirming: (N,) int64, a confident detection that overlaps the masklet very closely, fit
            to recondition it, or -1.
        resumed: (N,) int64, a detection that overlaps no masklet and is this one, which was out of
            sight, see :mod:`maskstream.tracker.reidentify`; or -1.
        new_detections: (K,) int64, detections that start a masklet each, in the order in which
            identities are to be given.
        num_dropped: detections that found no place under ``max_num_objects``.
    """

    matches: BoolArray
    is_unmatched: BoolArray
    is_empty: BoolArray
    sighted: IntArray
    scores: FloatArray
    confirming: IntArray
    resumed: IntArray
    new_detections: IntArray
    num_dropped: int = 0

    def without(self, rows: BoolArray) -> Association:
        """The same, with nothing said about some masklets: they count neither as seen nor not.

        Args:
            rows: (N,) bool, the masklets to pass over.
        """
        if not rows.any():
            return self
        return replace(
            self,
            matches=self.matches & ~rows,
            is_unmatched=self.is_unmatched & ~rows,
            is_empty=self.is_empty & ~rows,
            sighted=np.where(rows, NO_DETECTION, self.sighted),
            confirming=np.where(rows, NO_DETECTION, self.confirming),
            resumed=np.where(rows, NO_DETECTION, self.resumed),
        )


def associate(
    iou_DN: FloatArray,
    detection_scores: FloatArray,
    detection_prompts: IntArray,
    masklet_prompts: Sequence[int],
    is_empty: BoolArray,
    config: VideoConfig,
    *,
    established: bool,
) -> Association:
    """Join detections and masklets by mask overlap, within one prompt only.

    A detection that overlaps no masklet of its prompt starts one. Once there are established
    masklets, it also needs ``new_det_thresh``.

    Args:
        iou_DN: (D, N) float32, overlap of every detection with every masklet.
        detection_scores: (D,) float32.
        detection_prompts: (D,) int64.
        masklet_prompts: N prompt ids; a negative one is no concept and matches no detection.
        is_empty: (N,) bool, the masklet's mask is empty.
        config: thresholds.
        established: there are masklets from before this frame.
    """
    prompts = np.asarray(masklet_prompts, dtype=np.int64)
    same = (detection_prompts[:, None] == prompts[None, :]) & (prompts[None, :] >= 0)
    iou = np.where(same, iou_DN, np.float32(0.0))
    # Thresholds stay weakly typed, so comparisons happen in float32: an overlap of 7 / 10 reaches
    # a threshold of 0.7.
    matches = same & (iou >= config.assoc_iou_thresh)
    close = same & (iou >= config.trk_assoc_iou_thresh)
    starts = ~matches.any(axis=1)
    if established:
        starts &= detection_scores >= config.new_det_thresh
    return Association(
        matches=matches,
        is_unmatched=~is_empty & ~close.any(axis=0),
        is_empty=is_empty,
        sighted=best_detections(iou, matches),
        scores=best_scores(iou, close, detection_scores),
        confirming=_confirming(iou, detection_scores, starts, config),
        resumed=np.full(len(prompts), NO_DETECTION, dtype=np.int64),
        new_detections=np.flatnonzero(starts),
    )


def within_limit(
    association: Association, detection_scores: FloatArray, num_places: int
) -> Association:
    """The same with no more new masklets than there is room for: the best-scored, best first."""
    new = association.new_detections
    places = max(num_places, 0)
    if new.size <= places:
        return association
    best = np.argsort(-detection_scores[new], kind="stable")[:places]
    return replace(association, new_detections=new[best], num_dropped=int(new.size - places))


def best_scores(iou: FloatArray, close: BoolArray, scores: FloatArray) -> FloatArray:
    """(N,) score of the detection that overlaps each masklet most, of those close to it."""
    chosen = best_detections(iou, close)
    best = np.full(iou.shape[1], np.nan, dtype=np.float32)
    seen = chosen != NO_DETECTION
    best[seen] = scores[chosen[seen]]
    return best


def best_detections(iou: FloatArray, allowed: BoolArray) -> IntArray:
    """(N,) of the allowed detections the one that overlaps each masklet most, or -1."""
    chosen = np.full(iou.shape[1], NO_DETECTION, dtype=np.int64)
    seen = np.flatnonzero(allowed.any(axis=0))
    if seen.size:
        chosen[seen] = np.where(allowed, iou, -1.0)[:, seen].argmax(axis=0)
    return chosen


def _confirming(
    iou: FloatArray, scores: FloatArray, starts: BoolArray, config: VideoConfig
) -> IntArray:
    """(N,) for each masklet the last confident detection that overlaps it most and closely."""
    confirming = np.full(iou.shape[1], NO_DETECTION, dtype=np.int64)
    if iou.size == 0:
        return confirming
    confident = (scores >= config.high_conf_thresh) & ~starts
    chosen = np.flatnonzero(confident & (iou.max(axis=1) >= config.high_iou_thresh))
    # Of several detections for one masklet the last assignment stays.
    confirming[iou[chosen].argmax(axis=1)] = chosen
    return confirming
