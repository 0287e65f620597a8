"""Mask arithmetic shared by detector and tracker: overlap, suppression, cleaning, boxes.

Pure functions of tensors on any device. None of them depends on an optional kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from maskstream.core.components import small_component_pixels, small_components

HOLE_LOGIT = 0.1
"""What a filled hole is set to: just inside, as in SAM 3."""

SPECK_LOGIT = -0.1
"""What a removed speck is set to: just outside."""


def mask_iou(masks_a: Tensor, masks_b: Tensor) -> Tensor:
    """Intersection over union of every mask of one set with every mask of another.

    Args:
        masks_a: (N, H, W) bool, or 0/1 of any dtype.
        masks_b: (M, H, W) bool, or 0/1 of any dtype.

    Returns:
        (N, M) float32 in [0, 1]; 0 where both masks are empty.
    """
    a_NP = masks_a.flatten(1).to(torch.float32)
    b_MP = a_NP if masks_b is masks_a else masks_b.flatten(1).to(torch.float32)
    # Sums of 0 and 1 are exact in float32 (up to 16 megapixels) and would not be in bfloat16.
    with torch.autocast(a_NP.device.type, enabled=False):
        intersection = a_NP @ b_MP.T
    union = a_NP.sum(1).unsqueeze(1) + b_MP.sum(1).unsqueeze(0) - intersection
    return intersection / union.clamp(min=1)


def mask_iom(masks_a: Tensor, masks_b: Tensor) -> Tensor:
    """Intersection over the smaller area, of every mask of one set with every mask of another.

    Args:
        masks_a: (N, H, W) bool, or 0/1 of any dtype.
        masks_b: (M, H, W) bool, or 0/1 of any dtype.

    Returns:
        (N, M) float32 in [0, 1]; 0 where one of the masks is empty.
    """
    a_NP, b_MP = masks_a.flatten(1).to(torch.float32), masks_b.flatten(1).to(torch.float32)
    # Sums of 0 and 1 are exact in float32 (up to 16 megapixels) and would not be in bfloat16.
    with torch.autocast(a_NP.device.type, enabled=False):
        intersection = a_NP @ b_MP.T
    smaller = torch.minimum(a_NP.sum(1).unsqueeze(1), b_MP.sum(1).unsqueeze(0))
    return intersection / smaller.clamp(min=1)


Overlap = Callable[[Tensor, Tensor], Tensor]
"""How much masks overlap: :func:`mask_iou` or :func:`mask_iom`."""

OVERLAPS: dict[str, Overlap] = {"iou": mask_iou, "iom": mask_iom}


def mask_nms(
    masks: Tensor,
    scores: Tensor,
    iou_threshold: float,
    prompt_ids: Tensor | None = None,
    overlap: Overlap = mask_iou,
) -> Tensor:
    """Greedy non-maximum suppression by mask overlap.

    From the highest score down (the lower index first among equals) a mask is kept unless a kept
    one of the same prompt overlaps it by more than the threshold.

    Args:
        masks: (N, H, W) bool.
        scores: (N,) floats.
        iou_threshold: overlaps up to and including this are allowed.
        prompt_ids: (N,) integers; masks of different prompts never suppress each other. None:
            all are of one prompt.
        overlap: how overlap is measured.

    Returns:
        (N,) bool on the masks' device, True for the masks kept.
    """
    if masks.shape[0] <= 1:
        return torch.ones(masks.shape[0], dtype=torch.bool, device=masks.device)
    too_close = overlap(masks, masks) > iou_threshold
    if prompt_ids is not None:
        too_close &= prompt_ids.unsqueeze(1) == prompt_ids.unsqueeze(0)
    order = torch.sort(scores, descending=True, stable=True).indices
    ranked = too_close[order][:, order]
    kept_in_order = _keep_greedily(ranked.cpu().numpy())
    keep = torch.empty(masks.shape[0], dtype=torch.bool, device=masks.device)
    keep[order] = torch.from_numpy(kept_in_order).to(masks.device)
    return keep


def _keep_greedily(too_close: np.ndarray) -> np.ndarray:
    """(N,) bool: row i is kept unless an earlier kept row is too close to it.

    Decides whole fronts at once: a row whose earlier conflicts are all dropped is kept, and one
    with a kept earlier conflict is dropped. The first undecided row is always decidable.
    """
    earlier = np.tril(too_close, -1)
    keep = np.zeros(too_close.shape[0], dtype=np.bool_)
    undecided = np.ones_like(keep)
    while undecided.any():
        dropped = undecided & (earlier & keep).any(axis=1)
        undecided &= ~dropped
        decided = undecided & ~(earlier & undecided).any(axis=1)
        keep |= decided
        undecided &= ~decided
    return keep


def fill_holes_and_specks(mask_logits: Tensor, max_area: int) -> Tensor:
    """Closes small holes and drops small specks.

    First every background component of at most ``max_area`` pixels becomes ``HOLE_LOGIT``. Then,
    in the result, every foreground component of at most ``min(max_area, area // 2)`` pixels, where
    area is the mask's own, becomes ``SPECK_LOGIT``; the largest part of a tiny mask thus survives.
    Components are 8-connected; those at the border count like all others.

    Args:
        mask_logits: (N, H, W) floats, > 0 is inside.
        max_area: pixels of the given grid; 0 or less changes nothing.

    Returns:
        (N, H, W), the input itself where nothing had to be changed.
    """
    if max_area <= 0 or mask_logits.numel() == 0:
        return mask_logits
    if mask_logits.device.type == "cpu":
        return _fill_on_cpu(mask_logits, max_area)
    inside = mask_logits > 0
    limit = torch.full((inside.shape[0],), max_area, device=inside.device)
    holes = small_components(~inside, limit, max_area)
    inside |= holes
    limit = (inside.flatten(1).sum(1) // 2).clamp(max=max_area)
    specks = small_components(inside, limit, max_area)
    filled = torch.where(holes, HOLE_LOGIT, mask_logits)
    return torch.where(specks, SPECK_LOGIT, filled).to(mask_logits.dtype)


def _fill_on_cpu(mask_logits: Tensor, max_area: int) -> Tensor:
    inside = mask_logits.float().numpy() > 0
    holes = small_component_pixels(~inside, np.full(inside.shape[0], max_area))
    inside.reshape(-1)[holes] = True
    areas = np.count_nonzero(inside.reshape(inside.shape[0], -1), axis=1)
    specks = small_component_pixels(inside, np.minimum(areas // 2, max_area))
    if holes.size == 0 and specks.size == 0:
        return mask_logits
    cleaned = mask_logits.clone(memory_format=torch.contiguous_format)
    cleaned.view(-1)[torch.from_numpy(holes)] = HOLE_LOGIT
    cleaned.view(-1)[torch.from_numpy(specks)] = SPECK_LOGIT
    return cleaned


def boxes_from_masks(masks: Tensor) -> Tensor:
    """The tightest box around each mask.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32, x0 y0 x1 y1 in pixels; x1 and y1 are exclusive, so that x1 - x0 is the
        width in pixels. All zeros for an empty mask.
    """
    num_masks, height, width = masks.shape
    if masks.numel() == 0:
        return torch.zeros(num_masks, 4, device=masks.device)
    rows = masks.any(dim=2).to(torch.uint8)
    columns = masks.any(dim=1).to(torch.uint8)
    x0, y0 = columns.argmax(1), rows.argmax(1)
    x1 = width - columns.flip(1).argmax(1)
    y1 = height - rows.flip(1).argmax(1)
    boxes = torch.stack([x0, y0, x1, y1], dim=1).to(torch.float32)
    return boxes * rows.any(dim=1).unsqueeze(1)


def group_index(prompt_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers the prompts that occur, 0 upwards.

    Args:
        prompt_ids: (N,) integers.

    Returns:
        (N,) int64, the number of each row's prompt, and (P,) int64, rows per prompt.
    """
    _, index, counts = torch.unique(prompt_ids, return_inverse=True, return_counts=True)
    return index, counts


def non_overlapping(mask_logits: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Gives every pixel to the mask that has the highest logit there among its group.

    Args:
        mask_logits: (N, H, W) floats, > 0 is inside.
        groups: (N,) int64 in [0, ``num_groups``); masks of different groups may overlap.
        num_groups: number of groups.

    Returns:
        (N, H, W) bool: inside, and not lost to a mask of the group (the first wins among equals).
    """
    inside = mask_logits > 0
    num_masks = mask_logits.shape[0]
    if num_masks <= 1 or num_groups >= num_masks:
        return inside
    if num_groups == 1:
        winner = mask_logits.argmax(dim=0, keepdim=True)
        rows = torch.arange(num_masks, device=mask_logits.device).view(-1, 1, 1)
        return inside & (winner == rows)
    flat = mask_logits.flatten(1)
    index = groups.unsqueeze(1).expand_as(flat)
    best = flat.new_full((num_groups, flat.shape[1]), -torch.inf)
    best.scatter_reduce_(0, index, flat, "amax")
    candidates = inside.flatten(1) & (flat == best[groups])
    rows = torch.arange(num_masks, dtype=torch.int32, device=flat.device).unsqueeze(1)
    first = rows.new_full((num_groups, flat.shape[1]), num_masks)
    first.scatter_reduce_(0, index, torch.where(candidates, rows, num_masks), "amin")
    return (candidates & (first[groups] == rows)).view_as(inside)
