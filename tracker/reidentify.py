"""Identities given back: a detection that would start a masklet is one that was out of sight.

A tracker that has lost an object behind another finds it again by its memories, or not at all: then
the detector sees something new where the old one has just come back. Here such a detection takes up
the identity of a masklet of its concept that went unseen near by, not long ago. The released model
does not do this, and by default it is off, but for masklets that are kept away: what a user has
removed is not to come back because the tracker lost it. Pure functions of small arrays on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from maskstream.tracker.association import NO_DETECTION, Association
from maskstream.tracker.lifecycle import KEPT_AWAY_FRAMES, Masklet, Sighting
from maskstream.tracker.video_config import VideoConfig

FloatArray = NDArray[np.float32]


def reidentify(
    association: Association,
    boxes: FloatArray,
    scores: FloatArray,
    prompts: NDArray[np.int64],
    masklets: Sequence[Masklet],
    available: NDArray[np.bool_],
    frame_index: int,
    config: VideoConfig,
) -> Association:
    """Give detections that would start masklets to unseen ones, nearest pair first.

    Args:
        association: what overlap alone says.
        boxes: (D, 4) float32, x0 y0 x1 y1 of the detections, normalised.
        scores: (D,) float32.
        prompts: (D,) int64.
        masklets: N records.
        available: (N,) bool; the others are not taken up.
        frame_index: 0-based.
        config: how long ago, how far and how different in size.

    Returns:
        The association with those detections as sightings of the masklets they were given to.
    """
    unseen = np.flatnonzero(available & ~association.matches.any(axis=0))
    unseen = unseen[[_within(masklets[row], config) > 0 for row in unseen.tolist()]]
    new = association.new_detections
    if not new.size or not unseen.size:
        return association
    distance = np.full((new.size, unseen.size), np.inf)
    for column, row in enumerate(unseen.tolist()):
        masklet = masklets[row]
        same = prompts[new] == masklet.prompt_id
        if masklet.last_seen is not None and same.any():
            away = _distances(boxes[new], masklet, masklet.last_seen, frame_index, config)
            distance[same, column] = away[same]
    resumed = association.resumed.copy()
    taken = []
    while np.isfinite(distance).any():
        place, nearest = np.unravel_index(distance.argmin(), distance.shape)
        resumed[unseen[nearest]] = new[place]
        taken.append(place)
        distance[place, :] = distance[:, nearest] = np.inf
    return _resume(association, resumed, scores, np.delete(new, taken)) if taken else association


def note_sightings(
    masklets: Sequence[Masklet],
    association: Association,
    boxes: FloatArray,
    frame_index: int,
) -> list[Masklet]:
    """The records with where the detector saw them in this frame; arguments as above."""
    noted = list(masklets)
    for row in np.flatnonzero(association.sighted != NO_DETECTION).tolist():
        box = boxes[association.sighted[row]].tolist()
        noted[row] = replace(noted[row], last_seen=Sighting.of(frame_index, box))
    return noted


def _distances(
    boxes: FloatArray, masklet: Masklet, last: Sighting, frame_index: int, config: VideoConfig
) -> NDArray[np.float64]:
    """(K,) how far boxes lie from where a masklet was seen last; infinite if they cannot be it.

    In widths and heights of the frame. What is kept away reaches no farther with time: it must not
    swallow what comes into view elsewhere.
    """
    box = np.asarray(last.box, dtype=np.float64)
    frames = abs(frame_index - last.frame_index)
    reach = config.reidentify_distance
    if masklet.is_shown:
        reach += config.reidentify_speed * frames
    if frames > _within(masklet, config):
        return np.full(len(boxes), np.inf)
    distance = np.hypot(*(_centers(boxes) - _centers(box[None])).T)
    sizes, size = _areas(boxes), _areas(box[None])
    ratio = np.minimum(sizes, size) / np.maximum(np.maximum(sizes, size), 1e-12)
    possible = (distance <= reach) & (ratio >= config.reidentify_size_ratio)
    result: NDArray[np.float64] = np.where(possible, distance, np.inf)
    return result


def _within(masklet: Masklet, config: VideoConfig) -> int:
    """How many frames ago a masklet may have been seen last; 0: it is not taken up."""
    return config.reidentify_within if masklet.is_shown else KEPT_AWAY_FRAMES


def _centers(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    return (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2


def _areas(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    sides = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    areas: NDArray[np.float64] = sides.prod(axis=1)
    return areas


def _resume(
    association: Association,
    resumed: NDArray[np.int64],
    scores: FloatArray,
    new: NDArray[np.int64],
) -> Association:
    """The association, once these masklets have these detections."""
    rows = np.flatnonzero(resumed != NO_DETECTION)
    matches, best = association.matches.copy(), association.scores.copy()
    matches[resumed[rows], rows] = True
    best[rows] = scores[resumed[rows]]
    seen = resumed != NO_DETECTION
    return replace(
        association,
        matches=matches,
        is_unmatched=association.is_unmatched & ~seen,
        is_empty=association.is_empty & ~seen,
        scores=best,
        sighted=np.where(seen, resumed, association.sighted),
        new_detections=new,
        resumed=resumed,
    )
