"""SAM 3.1's rules for which detections belong to which masklets; beside those of SAM 3.0.

Overlap is measured over the smaller of two areas, so that a part counts as a match of the whole.
What overlaps several by much is ambiguous, and no match of any. Pure functions of small arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskstream.tracker.association import (
    NO_DETECTION,
    Association,
    BoolArray,
    FloatArray,
    IntArray,
    best_detections,
    best_scores,
)
from maskstream.tracker.video_config import VideoConfig


def near_border(boxes: FloatArray, margin: float) -> BoolArray:
    """(D,) bool: the centre of a box, x0 y0 x1 y1 normalised, is near to the frame's edge."""
    if margin <= 0:
        return np.zeros(len(boxes), dtype=np.bool_)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near: BoolArray = np.any((centres <= margin) | (centres >= 1 - margin), axis=1)
    return near


def associate_multiplex(
    iom_DN: FloatArray,
    detection_scores: FloatArray,
    detection_prompts: IntArray,
    masklet_prompts: Sequence[int],
    is_empty: BoolArray,
    passed_over: BoolArray,
    config: VideoConfig,
) -> Association:
    """Join detections and masklets, within one prompt only; as :func:`associate` does for SAM 3.0.

    Args:
        iom_DN: (D, N) float32, overlap of every detection with every masklet.
        detection_scores: (D,) float32.
        detection_prompts: (D,) int64.
        masklet_prompts: N prompt ids; a negative one is no concept and matches no detection.
        is_empty: (N,) bool, the masklet's mask is empty.
        passed_over: (D,) bool, detections that count for nothing. Where there is no masklet at all
            they start some nevertheless, as in the original.
        config: thresholds.
    """
    prompts = np.asarray(masklet_prompts, dtype=np.int64)
    same = (detection_prompts[:, None] == prompts[None, :]) & (prompts[None, :] >= 0)
    overlap = np.where(same & ~passed_over[:, None], iom_DN, np.float32(0.0))
    touches = overlap >= config.assoc_iou_thresh
    close = overlap >= config.trk_assoc_iou_thresh
    starts = (detection_scores >= config.new_det_thresh) & ~touches.any(axis=1)
    if prompts.size:
        starts &= ~passed_over
    ambiguous = (close.sum(axis=1) > 1)[:, None] | (close.sum(axis=0) > 1)[None, :]
    clear = np.where(ambiguous, np.float32(0.0), overlap)
    matches = clear >= config.assoc_iou_thresh
    return Association(
        matches=matches,
        is_unmatched=~is_empty & ~close.any(axis=0),
        is_empty=is_empty,
        sighted=best_detections(clear, matches),
        scores=best_scores(overlap, close, detection_scores),
        confirming=_confirming(clear, detection_scores, config),
        resumed=np.full(len(prompts), NO_DETECTION, dtype=np.int64),
        new_detections=np.flatnonzero(starts),
    )


def _confirming(overlap: FloatArray, scores: FloatArray, config: VideoConfig) -> IntArray:
    """(N,) for each masklet the last confident detection that overlaps it most and closely."""
    confirming = np.full(overlap.shape[1], NO_DETECTION, dtype=np.int64)
    if overlap.size == 0:
        return confirming
    confident = (scores >= config.high_conf_thresh) & (
        overlap.max(axis=1) >= config.high_iou_thresh
    )
    chosen = np.flatnonzero(confident)
    confirming[overlap[chosen].argmax(axis=1)] = chosen
    return confirming
