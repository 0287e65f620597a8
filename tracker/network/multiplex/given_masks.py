"""Masks as they enter a bucket's memory: given ones, clicked ones, and those that compete."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskstream.tracker.network.maps import NO_OBJECT_LOGIT, resize
from maskstream.tracker.overlap import NO_OBJECT_LOGIT as LOST_LOGIT
from maskstream.tracker.overlap import SHRINK_THRESHOLD, overlap_groups


def as_given(
    masks: Tensor,
    prompt_ids: Sequence[int],
    size: tuple[int, int] | None,
    mask_size: tuple[int, int],
) -> Tensor:
    """Masks that are given together, as logits of ±1024.

    The original takes them through the video's own size, where a pixel that several of them claim
    is taken from all of them.

    Args:
        masks: (K, H, W), 0 or 1, of any size.
        prompt_ids: K concepts; only masks of one concept take pixels from each other.
        size: (height, width) of the video; None keeps the masks' own.
        mask_size: (4h, 4w).

    Returns:
        (K, 4h, 4w) logits.
    """
    inside = resize(masks, size or (masks.shape[-2], masks.shape[-1]), antialias=True) > 0.5
    groups, num_groups = overlap_groups(prompt_ids)
    for group in range(num_groups):
        rows = torch.from_numpy((groups == group).nonzero()[0]).to(masks.device)
        if len(rows) > 1:
            claimed = inside[rows]
            inside[rows] = claimed & (claimed.sum(0) == 1)
    logits = torch.where(inside, -NO_OBJECT_LOGIT, NO_OBJECT_LOGIT)
    return resize(logits, mask_size, antialias=True)


def as_clicked(masks: Tensor, size: tuple[int, int] | None) -> Tensor:
    """(K, 4h, 4w) logits of clicked masks, taken through the video's size."""
    if size is None:
        return masks.float()
    low = (masks.shape[-2], masks.shape[-1])
    return resize(resize(masks, size, antialias=False), low, antialias=True)


def apart(masks: Tensor, prompt_ids: Sequence[int]) -> Tensor:
    """Every pixel to the highest of the masks of one concept; the others are low there.

    Args:
        masks: (N, H, W) logits.
        prompt_ids: N concepts.
    """
    groups, num_groups = overlap_groups(prompt_ids)
    out = masks
    for group in range(num_groups):
        rows = torch.from_numpy((groups == group).nonzero()[0]).to(masks.device)
        if len(rows) > 1:
            some = masks[rows]
            order = torch.arange(len(rows), device=masks.device)[:, None, None]
            won = some.argmax(dim=0) == order
            out = out.index_copy(0, rows, torch.where(won, some, some.clamp(max=LOST_LOGIT)))
    return out


def shrunk(masks: Tensor, prompt_ids: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Which masks keep too little of their area against the others of their concept.

    Works mask by mask: all of them at ``size`` would take gigabytes.

    Args:
        masks: (N, H, W) logits.
        prompt_ids: N concepts.
        size: (height, width) at which pixels are counted.

    Returns:
        (N,) bool. A mask alone in its concept is never among them.
    """
    groups, num_groups = overlap_groups(prompt_ids)
    lost = torch.zeros(len(masks), dtype=torch.bool, device=masks.device)
    for group in range(num_groups):
        rows = (groups == group).nonzero()[0].tolist()
        if len(rows) > 1:
            lost[rows] = _kept(masks, rows, size) < SHRINK_THRESHOLD
    return lost


def _kept(masks: Tensor, rows: Sequence[int], size: tuple[int, int]) -> Tensor:
    """(len(rows),) the part of each mask's area where it is the highest."""
    areas: list[Tensor] = []
    highest = resize(masks[rows[0] : rows[0] + 1], size, antialias=False)[0]
    winner = torch.zeros(size, dtype=torch.int64, device=masks.device)
    areas.append((highest > 0).sum())
    for number, row in enumerate(rows[1:], start=1):
        one = resize(masks[row : row + 1], size, antialias=False)[0]
        areas.append((one > 0).sum())
        winner = torch.where(one > highest, number, winner)
        highest = torch.maximum(highest, one)
    won = torch.bincount(winner[highest > 0], minlength=len(rows))
    return won / torch.stack(areas).clamp(min=1)
