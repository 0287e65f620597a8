"""The life of a masklet: hot start, keep-alive, states. Pure functions over small records.

A masklet that the detector found is *provisional* while it is in hot start, its first
``hotstart_delay`` frames. In that time it is dropped if the detector sees it too seldom, or if it
keeps sharing detections with an older masklet. After that it is *confirmed*, for good. What a user
made is confirmed from the start. A record holds counters only, never a list of frames.

What a user has removed can be *kept away*: it is followed on, unseen, so that its detections belong
to it and start nothing new. It is forgotten when the detector has not seen it for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import CheckpointError
from maskstream.tracker.association import NO_DETECTION, Association
from maskstream.tracker.video_config import SAM31_RULES, VideoConfig

KEPT_AWAY_FRAMES = 30
"""A removed masklet that the detector has not seen for so many frames is forgotten."""


class MaskletState(StrEnum):
    """What a masklet is in one frame."""

    PROVISIONAL = "provisional"
    """In hot start: may still be withdrawn."""
    CONFIRMED = "confirmed"
    SUPPRESSED = "suppressed"
    """Tracked, but not to be shown in this frame."""
    REMOVED = "removed"
    """Withdrawn; tracked no longer."""


class Origin(StrEnum):
    """Who started a masklet or last drew on it."""

    DETECTOR = "detector"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where and when the detector saw a masklet: x0 y0 x1 y1, normalised, and the frame."""

    frame_index: int
    box: tuple[float, float, float, float]

    @classmethod
    def of(cls, frame_index: int, box: Sequence[float]) -> Sighting:
        """From any sequence of four numbers."""
        x0, y0, x1, y1 = box
        return cls(frame_index, (float(x0), float(y0), float(x1), float(y1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Masklet:
    """The record of one masklet.

    Attributes:
        obj_id: lasting identity.
        prompt_id: the concept it answers; negative for none.
        first_frame: where it was started.
        origin: detector or user.
        confirmed: out of hot start.
        num_unmatched: frames on which it had a mask that no detection overlapped closely.
        keep_alive: up by one when seen, down by one when not, within limits.
        last_occluded: last frame on which it had no mask or was suppressed; None: never.
        last_detection_score: the detection's score when last seen; None: never.
        last_seen: the last detection that overlapped it, at least loosely; None: none has.
        duplicates: while provisional, by identity of an older masklet, how many detections both
            have shared.
        kept_away: a user has removed it, and it is followed so that it is not found again: for so
            many frames the detector has not seen it. None: it was not removed.
    """

    obj_id: int
    prompt_id: int
    first_frame: int
    origin: Origin
    confirmed: bool
    keep_alive: int
    num_unmatched: int = 0
    last_occluded: int | None = None
    last_detection_score: float | None = None
    last_seen: Sighting | None = None
    duplicates: Mapping[int, int] = field(default_factory=dict)
    kept_away: int | None = None

    @property
    def is_shown(self) -> bool:
        """Results tell of it."""
        return self.kept_away is None

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :meth:`from_dict` reads back."""
        return {**asdict(self), "origin": str(self.origin), "duplicates": dict(self.duplicates)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Masklet:
        """Undo :meth:`to_dict`.

        Raises:
            CheckpointError: a field is missing, unknown or malformed.
        """
        wanted = {spec.name for spec in fields(cls)}
        if set(values) != wanted:
            raise CheckpointError(f"masklet with {sorted(values)}; it must have {sorted(wanted)}")
        try:
            # JSON, if the record went through it, made texts of the keys.
            duplicates = {int(key): int(count) for key, count in values["duplicates"].items()}
            origin = Origin(values["origin"])
            last = values["last_seen"]
            seen = None if last is None else Sighting.of(last["frame_index"], last["box"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"masklet {values['obj_id']!r} is malformed: {error}") from error
        return cls(**{**values, "origin": origin, "last_seen": seen, "duplicates": duplicates})


@dataclass(frozen=True, slots=True)
class LifecycleUpdate:
    """What one frame did to N masklets.

    Attributes:
        masklets: N records, in the same order, brought up to date.
        removed: (N,) bool, withdrawn by hot start on this frame.
        newly_confirmed: (N,) bool, left hot start on this frame.
        hidden: (N,) bool, keep-alive has run out, where the configuration hides such masklets.
        forgotten: (N,) bool, was kept away and has gone unseen for too long.
    """

    masklets: tuple[Masklet, ...]
    removed: NDArray[np.bool_]
    newly_confirmed: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    forgotten: NDArray[np.bool_]


def age_of(first_frame: int, frame_index: int, reverse: bool) -> int:
    """Frames since the first one, in the direction of play; 0 on the first."""
    return first_frame - frame_index if reverse else frame_index - first_frame


def is_settled(first_frame: int, frame_index: int, reverse: bool, config: VideoConfig) -> bool:
    """After ``frame_index`` has been worked on, hot start can no longer withdraw the masklet."""
    return age_of(first_frame, frame_index, reverse) >= config.hotstart_delay - 1


def start_masklet(
    *,
    obj_id: int,
    prompt_id: int,
    frame_index: int,
    score: float,
    box: Sequence[float],
    config: VideoConfig,
) -> Masklet:
    """The record of a masklet that a detection starts."""
    return Masklet(
        obj_id=obj_id,
        prompt_id=prompt_id,
        first_frame=frame_index,
        origin=Origin.DETECTOR,
        confirmed=config.hotstart_delay <= 1,
        keep_alive=config.init_trk_keep_alive,
        last_detection_score=score,
        last_seen=Sighting.of(frame_index, box),
    )


def advance(
    masklets: Sequence[Masklet],
    association: Association,
    frame_index: int,
    reverse: bool,
    config: VideoConfig,
) -> LifecycleUpdate:
    """Count this frame in, withdraw what hot start rejects, confirm what outlives it."""
    counted = _count_sightings(masklets, association, config)
    counted = _count_duplicates(counted, association, reverse, config)
    removed = np.array([_is_rejected(m, frame_index, reverse, config) for m in counted], dtype=bool)
    hidden = np.array([_is_hidden(m, config) for m in counted], dtype=bool) & ~removed
    settled = np.array(
        [
            not m.confirmed and is_settled(m.first_frame, frame_index, reverse, config)
            for m in counted
        ],
        dtype=bool,
    )
    newly_confirmed = settled & ~removed
    gone = {m.obj_id for m, is_gone in zip(counted, removed, strict=True) if is_gone}
    updated = tuple(
        replace(m, confirmed=True, duplicates={}) if is_confirmed else forget_objects(m, gone)
        for m, is_confirmed in zip(counted, newly_confirmed, strict=True)
    )
    forgotten = np.array([_is_forgotten(m) for m in updated], dtype=bool)
    return LifecycleUpdate(updated, removed, newly_confirmed, hidden, forgotten)


def keep_away(masklet: Masklet) -> Masklet:
    """The record of a masklet that a user removes and that is not to be found again."""
    return replace(masklet, confirmed=True, duplicates={}, kept_away=0)


def forget_objects(masklet: Masklet, obj_ids: set[int]) -> Masklet:
    """The record without shared detections with masklets that are no more."""
    if obj_ids.isdisjoint(masklet.duplicates):
        return masklet
    kept = {other: n for other, n in masklet.duplicates.items() if other not in obj_ids}
    return replace(masklet, duplicates=kept)


def _count_sightings(
    masklets: Sequence[Masklet], association: Association, config: VideoConfig
) -> list[Masklet]:
    """Unmatched frames, keep-alive, last score.

    A loose overlap counts up and the lack of a close one down, so both may happen in one frame.
    """
    seen = np.any(association.matches, axis=0).tolist()
    unmatched, empty = association.is_unmatched, association.is_empty
    counted = []
    for row, masklet in enumerate(masklets):
        keep_alive = masklet.keep_alive
        if association.resumed[row] != NO_DETECTION:
            keep_alive = config.init_trk_keep_alive
        elif seen[row]:
            keep_alive = min(config.max_trk_keep_alive, keep_alive + 1)
        if unmatched[row] or (empty[row] and config.decrease_trk_keep_alive_for_empty_masklets):
            keep_alive = max(config.min_trk_keep_alive, keep_alive - 1)
        score = float(association.scores[row])
        kept_away = masklet.kept_away
        if kept_away is not None:
            kept_away = 0 if seen[row] else kept_away + 1
        counted.append(
            replace(
                masklet,
                keep_alive=keep_alive,
                kept_away=kept_away,
                num_unmatched=masklet.num_unmatched + int(unmatched[row]),
                last_detection_score=masklet.last_detection_score if np.isnan(score) else score,
            )
        )
    return counted


def _count_duplicates(
    masklets: list[Masklet], association: Association, reverse: bool, config: VideoConfig
) -> list[Masklet]:
    """For each detection that several masklets share: one more for all but the oldest of them.

    By SAM 3.1's rules, one that began with the oldest is as old.
    """
    counted = list(masklets)
    shared = np.flatnonzero(association.matches.sum(axis=1) >= 2)
    for detection in shared:
        rows = np.flatnonzero(association.matches[detection]).tolist()
        sign = -1 if reverse else 1
        oldest = min(rows, key=lambda row: sign * masklets[row].first_frame)
        for row in rows:
            if row == oldest or counted[row].confirmed:
                continue
            as_old = masklets[row].first_frame == masklets[oldest].first_frame
            if as_old and config.association_rules == SAM31_RULES:
                continue
            other = masklets[oldest].obj_id
            duplicates = dict(counted[row].duplicates)
            duplicates[other] = duplicates.get(other, 0) + 1
            counted[row] = replace(counted[row], duplicates=duplicates)
    return counted


def _is_rejected(masklet: Masklet, frame_index: int, reverse: bool, config: VideoConfig) -> bool:
    in_hot_start = age_of(masklet.first_frame, frame_index, reverse) < config.hotstart_delay
    if masklet.confirmed or not in_hot_start:
        return False
    return masklet.num_unmatched >= config.hotstart_unmatch_thresh or any(
        count >= config.hotstart_dup_thresh for count in masklet.duplicates.values()
    )


def _is_forgotten(masklet: Masklet) -> bool:
    return masklet.kept_away is not None and masklet.kept_away > KEPT_AWAY_FRAMES


def _is_hidden(masklet: Masklet, config: VideoConfig) -> bool:
    """Only a masklet that has gone unseen can be hidden, and never one that a user made."""
    return (
        not config.suppress_unmatched_only_within_hotstart
        and masklet.origin is Origin.DETECTOR
        and masklet.num_unmatched > 0
        and masklet.keep_alive <= 0
    )
