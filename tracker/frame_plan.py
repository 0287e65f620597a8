"""What a frame does to the masklets of a session, decided on the host from a few small arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.masks import OVERLAPS, mask_iou
from maskstream.core.types import Detections
from maskstream.tracker.association import NO_DETECTION, Association, associate, within_limit
from maskstream.tracker.association_multiplex import associate_multiplex, near_border
from maskstream.tracker.lifecycle import Masklet, advance
from maskstream.tracker.overlap import suppress_by_recent_occlusion
from maskstream.tracker.reidentify import note_sightings, reidentify
from maskstream.tracker.video_config import SAM31_RULES, VideoConfig

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Observation:
    """What N masklets and D detections look like, on the host.

    Attributes:
        iou_with_detections: (D, N) float32, overlap of every detection with every masklet, as the
            rules measure it.
        iou_with_masklets: (N, N) float32, overlap of every masklet with every other.
        is_empty: (N,) bool, the masklet has no mask.
        object_score_logits: (N,) float32.
        detection_scores: (D,) float32.
        detection_boxes: (D, 4) float32, x0 y0 x1 y1, normalised.
        detection_prompts: (D,) int64.
    """

    iou_with_detections: FloatArray
    iou_with_masklets: FloatArray
    is_empty: BoolArray
    object_score_logits: FloatArray
    detection_scores: FloatArray
    detection_boxes: FloatArray
    detection_prompts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FramePlan:
    """The decisions about N masklets.

    Attributes:
        masklets: their records, brought up to date.
        association: which detections belong to which, and which start new ones.
        object_score_logits: (N,) float32.
        removed: (N,) bool, withdrawn by hot start.
        newly_confirmed: (N,) bool, left hot start.
        hidden: (N,) bool, not to be shown because keep-alive has run out.
        suppressed: (N,) bool, gives way to another masklet: its mask is emptied.
        reconditioned: (N,) bool, this frame becomes a conditioning frame of it, and its mask is
            told as the confirming detection has it.
        resumed: (N,) bool, was out of sight and goes on from a detection, ``association.resumed``.
        kept_away: (N,) bool, a user has removed it, and it is followed unseen.
        forgotten: (N,) bool, of these, gone unseen for too long, and followed no longer.
        to_remember: rows, in order, that keep a memory of this frame.
    """

    masklets: tuple[Masklet, ...]
    association: Association
    object_score_logits: FloatArray
    removed: BoolArray
    newly_confirmed: BoolArray
    hidden: BoolArray
    suppressed: BoolArray
    reconditioned: BoolArray
    resumed: BoolArray
    kept_away: BoolArray
    forgotten: BoolArray
    to_remember: list[int]

    @property
    def not_shown(self) -> BoolArray:
        """(N,) bool; a masklet that gives way but was reconditioned shows the detection's mask."""
        return self.hidden | (self.suppressed & ~self.reconditioned)

    def ids(self, rows: BoolArray) -> list[int]:
        """Identities of the chosen masklets."""
        return [m.obj_id for m, chosen in zip(self.masklets, rows, strict=True) if chosen]


def at_mask_size(detections: Detections, mask_size: tuple[int, int]) -> Detections:
    """The detections with masks of the tracker's size."""
    if tuple(detections.masks.shape[-2:]) == mask_size:
        return detections
    masks = detections.masks.unsqueeze(1).float()
    if len(detections) == 0:
        resized = masks.new_zeros(0, *mask_size)
    else:
        resized = F.interpolate(masks, size=mask_size, mode="bilinear", align_corners=False)[:, 0]
    return replace(detections, masks=resized)


def observe(
    masks: Tensor, object_score_logits: Tensor, detections: Detections, overlap: str = "iou"
) -> Observation:
    """Brings to the host, in one go, what the decisions are made from.

    Args:
        masks: (N, H, W) logits of the masklets.
        object_score_logits: (N,).
        detections: D of them, with masks of the same size and on the same device.
        overlap: how overlap of detections with masklets is measured, "iou" or "iom".
    """
    num_masklets, num_detections = masks.shape[0], len(detections)
    inside = torch.cat([detections.masks > 0, masks > 0])
    overlaps, empty, logits, scores, boxes, prompts = _to_host(
        overlaps_of(inside, num_detections, overlap),
        ~inside[num_detections:].flatten(1).any(1),
        object_score_logits.float(),
        detections.scores.float(),
        detections.boxes.float(),
        detections.prompt_ids,
    )
    iou = overlaps.astype(np.float32).reshape(num_detections + num_masklets, num_masklets)
    return Observation(
        iou_with_detections=iou[:num_detections],
        iou_with_masklets=iou[num_detections:],
        is_empty=empty.astype(np.bool_),
        object_score_logits=logits.astype(np.float32),
        detection_scores=scores.astype(np.float32),
        detection_boxes=boxes.astype(np.float32).reshape(num_detections, 4),
        detection_prompts=prompts.astype(np.int64),
    )


def overlaps_of(inside: Tensor, num_detections: int, overlap: str) -> Tensor:
    """(D + N, N) overlaps of D detections and N masklets with the masklets, which are IoUs."""
    masklets = inside[num_detections:]
    if overlap == "iou":
        return mask_iou(inside, masklets)
    found = OVERLAPS[overlap](inside[:num_detections], masklets)
    return torch.cat((found, mask_iou(masklets, masklets)))


def _to_host(*tensors: Tensor) -> list[NDArray[np.float64]]:
    """Flat arrays, by a single copy. float64 holds float32 and any id below 2**53 exactly."""
    packed = torch.cat([tensor.flatten().to(torch.float64) for tensor in tensors]).cpu().numpy()
    return np.split(packed, np.cumsum([tensor.numel() for tensor in tensors])[:-1])


def plan_frame(
    masklets: Sequence[Masklet],
    seen: Observation,
    pinned: BoolArray,
    frame_index: int,
    reverse: bool,
    config: VideoConfig,
) -> FramePlan:
    """Association, re-identification, hot start, reconditioning and suppression, in this order.

    Args:
        masklets: N records.
        seen: of the N masklets and the detections.
        pinned: (N,) bool, given on this frame, not predicted. Such a masklet takes up detections
            and competes, but the frame counts neither for nor against it.
        frame_index: 0-based.
        reverse: the video is played backwards.
        config: thresholds.
    """
    prompt_ids = [masklet.prompt_id for masklet in masklets]
    established = is_established(masklets, pinned, frame_index)
    association = associate_seen(seen, prompt_ids, established, config).without(pinned)
    association = reidentify(
        association,
        seen.detection_boxes,
        seen.detection_scores,
        seen.detection_prompts,
        masklets,
        ~pinned,
        frame_index,
        config,
    )
    num_places = config.max_num_objects - sum(masklet.is_shown for masklet in masklets)
    association = within_limit(association, seen.detection_scores, num_places)
    kept_away = np.array([not masklet.is_shown for masklet in masklets], dtype=np.bool_)
    masklets = note_sightings(masklets, association, seen.detection_boxes, frame_index)
    life = advance(masklets, association, frame_index, reverse, config)
    resumed = (association.resumed != NO_DETECTION) & ~life.removed
    suppressed = (
        suppress_by_recent_occlusion(
            seen.iou_with_masklets,
            prompt_ids,
            # What is kept away neither gives way nor has others give way to it.
            [masklet.last_occluded if masklet.is_shown else None for masklet in masklets],
            life.removed,
            reverse,
            config.suppress_overlapping_based_on_recent_occlusion_threshold,
        )
        & ~pinned
        & ~resumed
        & ~kept_away
    )
    occluded = association.is_empty | suppressed
    return FramePlan(
        masklets=tuple(
            replace(masklet, last_occluded=frame_index) if is_occluded else masklet
            for masklet, is_occluded in zip(life.masklets, occluded, strict=True)
        ),
        association=association,
        object_score_logits=seen.object_score_logits,
        removed=life.removed,
        newly_confirmed=life.newly_confirmed,
        hidden=life.hidden,
        suppressed=suppressed,
        reconditioned=_reconditioned(association, seen, frame_index, config) & ~life.removed,
        resumed=resumed,
        kept_away=kept_away,
        forgotten=life.forgotten,
        to_remember=np.flatnonzero(~life.removed & ~pinned & ~resumed).tolist(),
    )


def associate_seen(
    seen: Observation, prompt_ids: Sequence[int], established: bool, config: VideoConfig
) -> Association:
    """Which detections belong to which masklets, by the rules that the configuration names.

    Args:
        seen: of the N masklets and the detections.
        prompt_ids: N concepts.
        established: there are masklets from before this frame.
        config: thresholds.
    """
    if config.association_rules == SAM31_RULES:
        return associate_multiplex(
            seen.iou_with_detections,
            seen.detection_scores,
            seen.detection_prompts,
            prompt_ids,
            seen.is_empty,
            near_border(seen.detection_boxes, config.border_margin),
            config,
        )
    return associate(
        seen.iou_with_detections,
        seen.detection_scores,
        seen.detection_prompts,
        prompt_ids,
        seen.is_empty,
        config,
        established=established,
    )


def is_established(masklets: Sequence[Masklet], pinned: BoolArray, frame_index: int) -> bool:
    """There are masklets from before this frame, not just what was drawn or found on it."""
    return any(
        masklet.first_frame != frame_index or not is_pinned
        for masklet, is_pinned in zip(masklets, pinned, strict=True)
    )


def _reconditioned(
    association: Association, seen: Observation, frame_index: int, config: VideoConfig
) -> BoolArray:
    """(N,) masklets that a detection confirms, on every nth frame.

    The object score is compared as a logit, as in transformers.
    """
    every = config.recondition_every_nth_frame
    if every == 0 or frame_index % every:
        return np.zeros(seen.is_empty.shape, dtype=np.bool_)
    confirmed: BoolArray = association.confirming != NO_DETECTION
    return confirmed & (seen.object_score_logits > config.high_conf_thresh)
