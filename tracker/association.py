"""Which detections belong to which masklets. Pure functions of small arrays on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracker.video_config import VideoConfig

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
        scores: (N,) float32, the score of the closely overlapping detection with the highest
            overlap; NaN where there is none.
        confirming: (N,) int64, a confident detection that overlaps the masklet very closely, fit
            to recondition it, or -1.
        new_detections: (K,) int64, detections that start a masklet each, in the order in which
            identities are to be given.
        num_dropped: detections that found no place under ``max_num_objects``.
    """

    matches: BoolArray
    is_unmatched: BoolArray
    is_empty: BoolArray
    scores: FloatArray
    confirming: IntArray
    new_detections: IntArray
    num_dropped: int

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
            confirming=np.where(rows, NO_DETECTION, self.confirming),
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
    num_places: int,
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
        num_places: new masklets that there is room for.
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
    new, num_dropped = _within_limit(np.flatnonzero(starts), detection_scores, max(num_places, 0))
    return Association(
        matches=matches,
        is_unmatched=~is_empty & ~close.any(axis=0),
        is_empty=is_empty,
        scores=_best_scores(iou, close, detection_scores),
        confirming=_confirming(iou, detection_scores, starts, config),
        new_detections=new,
        num_dropped=num_dropped,
    )


def _within_limit(starts: IntArray, scores: FloatArray, num_places: int) -> tuple[IntArray, int]:
    """The detections that get a place: all, or the best-scored, best first."""
    if starts.size <= num_places:
        return starts, 0
    best = np.argsort(-scores[starts], kind="stable")[:num_places]
    return starts[best], int(starts.size - num_places)


def _best_scores(iou: FloatArray, close: BoolArray, scores: FloatArray) -> FloatArray:
    """(N,) score of the detection that overlaps each masklet most, of those close to it."""
    best = np.full(iou.shape[1], np.nan, dtype=np.float32)
    seen = np.flatnonzero(close.any(axis=0))
    if seen.size:
        best[seen] = scores[np.where(close, iou, -1.0)[:, seen].argmax(axis=0)]
    return best


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
