"""What happens where masklets of one prompt overlap.

Masklets that belong to no concept (negative prompt id) are on their own: what a user draws never
takes anything from another masklet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.errors import InputError
from maskstream.core.masks import non_overlapping

NO_OBJECT_LOGIT = -10.0
"""What suppressed pixels are set to, at most."""

SHRINK_THRESHOLD = 0.3
"""A masklet that keeps less than this part of its area against the others is a wrong one."""

PIXELS_AT_A_TIME = 1 << 25
"""Pixels resized in one go: 128 MB of float32."""


def overlap_groups(prompt_ids: Sequence[int]) -> tuple[NDArray[np.int64], int]:
    """Numbers the groups within which masklets compete.

    Args:
        prompt_ids: N prompt ids; equal ones compete, negative ones with nobody.

    Returns:
        (N,) int64 in [0, G), and G.
    """
    ids = np.asarray(prompt_ids, dtype=np.int64)
    alone = ids < 0
    keys = np.stack([ids, np.where(alone, np.arange(ids.size), -1)])
    groups, index = np.unique(keys, axis=1, return_inverse=True)
    return index.reshape(-1), groups.shape[1]


def suppress_by_recent_occlusion(
    iou_NN: NDArray[np.float32],
    prompt_ids: Sequence[int],
    last_occluded: Sequence[int | None],
    removed: NDArray[np.bool_],
    reverse: bool,
    threshold: float,
) -> NDArray[np.bool_]:
    """Of two masklets that have come to cover the same thing, finds the one that drifted there.

    A masklet gives way to another of its prompt that it overlaps by at least ``threshold`` if it
    was occluded more recently and the other one has been occluded too. Played backwards, one
    that never was counts as the most recent; this is how SAM 3 does it.

    Args:
        iou_NN: (N, N) float32, overlaps of the masks.
        prompt_ids: N prompt ids.
        last_occluded: N frame indices, None for never.
        removed: (N,) bool, withdrawn on this frame; such a masklet that has never been occluded
            counts as occluded all the time.
        reverse: the video is played backwards.
        threshold: an IoU; 0 or less suppresses nothing.

    Returns:
        (N,) bool, True for the masklets to suppress.
    """
    num_masklets = iou_NN.shape[0]
    if num_masklets <= 1 or threshold <= 0:
        return np.zeros(num_masklets, dtype=np.bool_)
    groups, _ = overlap_groups(prompt_ids)
    pairs = (groups[:, None] == groups[None, :]) & (iou_NN >= threshold)
    np.fill_diagonal(pairs, False)
    never = np.array([frame is None for frame in last_occluded], dtype=np.bool_)
    frames = np.array([frame or 0 for frame in last_occluded], dtype=np.float64)
    recency = -frames if reverse else frames
    recency[never] = np.inf if reverse else -np.inf
    recency[never & removed] = np.inf
    occluded = ~never | removed
    gives_way = pairs & (recency[:, None] > recency[None, :]) & occluded[None, :]
    suppressed: NDArray[np.bool_] = gives_way.any(axis=1)
    return suppressed


def suppress_shrunk(mask_logits: Tensor, prompt_ids: Sequence[int]) -> Tensor:
    """Empties masks that lose most of their pixels to other masks of their prompt.

    Where masks of a prompt overlap, the highest logit has the pixel. A mask left with less than
    ``SHRINK_THRESHOLD`` of its area is lowered to ``NO_OBJECT_LOGIT`` everywhere, as is an empty
    one; all others stay whole. A mask alone in its prompt is not touched.

    Args:
        mask_logits: (N, H, W) floats, > 0 is inside.
        prompt_ids: N prompt ids.

    Returns:
        (N, H, W); the input itself where no masklets compete.
    """
    groups, num_groups = overlap_groups(prompt_ids)
    if num_groups >= mask_logits.shape[0]:
        return mask_logits
    device = mask_logits.device
    won = non_overlapping(mask_logits, torch.from_numpy(groups).to(device), num_groups)
    area_before = (mask_logits > 0).flatten(1).sum(1).clamp(min=1).to(torch.float32)
    shrunk = won.flatten(1).sum(1) / area_before < SHRINK_THRESHOLD
    competes = torch.from_numpy((np.bincount(groups) > 1)[groups]).to(device)
    emptied = (shrunk & competes).view(-1, 1, 1)
    return torch.where(emptied, mask_logits.clamp(max=NO_OBJECT_LOGIT), mask_logits)


def mixed(mask_logits: Tensor, found_logits: Tensor) -> Tensor:
    """Masks as detections correct them: where the two disagree, the detection is right.

    Args:
        mask_logits: (N, H, W), > 0 is inside.
        found_logits: (N, H, W) of the detections.
    """
    disagree = (mask_logits > 0) != (found_logits > 0)
    return torch.where(disagree, found_logits.to(mask_logits.dtype), mask_logits)


def resize_and_separate(
    low_res_masks: Tensor,
    tracker_scores: Tensor,
    prompt_ids: Sequence[int],
    size: tuple[int, int],
) -> Tensor:
    """Masks at the video's own size, no two of one prompt overlapping.

    Masks are resized bilinearly and cut at 0. A pixel that several masks of a prompt claim goes to
    the one with the highest tracker score, the first among equals. Give it only masklets that are
    to be shown: a hidden one would still take its pixels.

    Args:
        low_res_masks: (N, h, w) logits, > 0 is inside.
        tracker_scores: (N,) floats in [0, 1], on any device.
        prompt_ids: N prompt ids.
        size: (height, width) of the video, pixels.

    Returns:
        (N, height, width) bool on the masks' device.

    Raises:
        InputError: scores or prompt ids that are not one for each mask.
    """
    num_masks = low_res_masks.shape[0]
    if tracker_scores.shape != (num_masks,) or len(prompt_ids) != num_masks:
        raise InputError(
            f"{num_masks} masks with scores of shape {tuple(tracker_scores.shape)} and "
            f"{len(prompt_ids)} prompt ids; there must be one of each for each mask"
        )
    groups, _ = overlap_groups(prompt_ids)
    if low_res_masks.device.type == "cpu":
        return _crop_by_crop(low_res_masks, tracker_scores, groups, size)
    masks = _resize(low_res_masks, size)
    competing = np.flatnonzero((np.bincount(groups) > 1)[groups])
    if competing.size:
        _separate(masks, competing, groups[competing], tracker_scores)
    return masks


def _crop_by_crop(
    low_res_masks: Tensor, scores: Tensor, groups: NDArray[np.int64], size: tuple[int, int]
) -> Tensor:
    """Works mask by mask, best first, where the mask is and nowhere else.

    A core does little at a time, so it pays to leave the empty part of the frame out: 16 discs of
    4 % of a frame of 1280 x 720 take 3 ms on one core instead of 129.
    """
    masks = np.zeros((low_res_masks.shape[0], *size), dtype=np.bool_)
    height, width = low_res_masks.shape[1:]
    rows, columns = _sources(height, size[0]), _sources(width, size[1])
    taken = np.zeros((int(groups.max(initial=-1)) + 1, *size), dtype=np.bool_)
    order = torch.sort(scores.cpu(), descending=True, stable=True).indices.tolist()
    logits = low_res_masks.float().numpy()
    for number in order:
        inside = logits[number] > 0
        if not inside.any():
            continue
        down, across = rows.reached_by(inside.any(1)), columns.reached_by(inside.any(0))
        crop = rows.blend(columns.blend(logits[number].T, across).T, down) > 0
        here = taken[groups[number], down, across]
        crop &= ~here
        here |= crop
        masks[number, down, across] = crop
    return torch.from_numpy(masks)


@dataclass(frozen=True, slots=True)
class _Sources:
    """Bilinear resizing along one axis: where each output position reads from.

    Attributes:
        first: (L,) int64, the input position before it.
        second: (L,) int64, the one after it.
        weight: (L,) float32, share of the second.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float32]

    def reached_by(self, is_set: NDArray[np.bool_]) -> slice:
        """The output positions that read from between the first and the last set position."""
        positions = np.flatnonzero(is_set)
        start = np.searchsorted(self.second, positions[0], side="left")
        stop = np.searchsorted(self.first, positions[-1], side="right")
        return slice(int(start), int(stop))

    def blend(self, values: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        """(l, K) to (part, K)."""
        weight = self.weight[part, None]
        blended: NDArray[np.float32] = (1 - weight) * values[self.first[part]]
        blended += weight * values[self.second[part]]
        return blended


def _sources(length: int, new_length: int) -> _Sources:
    """As torch's interpolate without align_corners."""
    scale = np.float32(length) / np.float32(new_length)
    places = scale * (np.arange(new_length, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    places = np.maximum(places, np.float32(0))
    first = np.minimum(places.astype(np.int64), length - 1)
    return _Sources(
        first=first,
        second=np.minimum(first + 1, length - 1),
        weight=(places - first).astype(np.float32),
    )


def _resize(low_res_masks: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) logits to (N, *size) bool, a bounded number of pixels in float at a time."""
    num_masks = low_res_masks.shape[0]
    masks = torch.empty(num_masks, *size, dtype=torch.bool, device=low_res_masks.device)
    step = max(1, PIXELS_AT_A_TIME // (size[0] * size[1]))
    for first in range(0, num_masks, step):
        part = low_res_masks[first : first + step].unsqueeze(1).float()
        resized = F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        torch.gt(resized.squeeze(1), 0, out=masks[first : first + step])
    return masks


def _separate(
    masks: Tensor, rows: NDArray[np.int64], groups: NDArray[np.int64], scores: Tensor
) -> None:
    """Takes pixels away, in place, from all but the best of the given rows in each group."""
    device = masks.device
    flat = masks.flatten(1)
    row_index = torch.from_numpy(rows).to(device)
    _, numbered = np.unique(groups, return_inverse=True)
    group_index = torch.from_numpy(numbered).to(device)
    order = torch.sort(scores.to(device)[row_index], descending=True, stable=True).indices
    ranks = torch.empty(rows.size, dtype=torch.int32, device=device)
    ranks[order] = torch.arange(rows.size, dtype=torch.int32, device=device)
    best = ranks.new_full((int(numbered.max()) + 1, flat.shape[1]), rows.size)
    step = max(1, PIXELS_AT_A_TIME // flat.shape[1])
    parts = [slice(first, first + step) for first in range(0, rows.size, step)]
    for part in parts:
        claims = torch.where(flat[row_index[part]], ranks[part, None], rows.size)
        best.scatter_reduce_(0, group_index[part, None].expand_as(claims), claims, "amin")
    for part in parts:
        won = best[group_index[part]] == ranks[part, None]
        flat[row_index[part]] &= won
