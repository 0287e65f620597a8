"""Overlap of boxes as losses and matching need it."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_giou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., 2019) of boxes x0 y0 x1 y1.

    Args:
        first: (..., N, 4).
        second: (..., M, 4).

    Returns:
        Two tensors (..., N, M).
    """
    a, b = first[..., :, None, :], second[..., None, :, :]
    area_a = (a[..., 2:] - a[..., :2]).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).prod(-1)
    overlap = (torch.min(a[..., 2:], b[..., 2:]) - torch.max(a[..., :2], b[..., :2])).clamp(min=0)
    hull = (torch.max(a[..., 2:], b[..., 2:]) - torch.min(a[..., :2], b[..., :2])).prod(-1)
    both = overlap.prod(-1)
    union = (area_a + area_b - both).clamp(min=1e-7)
    iou = both / union
    return iou, iou - (hull - union) / hull.clamp(min=1e-7)


def paired_giou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of (N, 4) boxes with (N, 4) boxes, row by row: two (N,)."""
    iou, giou = pairwise_giou(first[:, None], second[:, None])
    return iou[:, 0, 0], giou[:, 0, 0]
