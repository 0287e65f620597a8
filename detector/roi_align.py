"""ROI align as two small matrix products.

Averaging bilinear samples over the bins of a box is linear in the features and separable: with
weights ``Wy`` (bins × height) and ``Wx`` (bins × width) of a box, its pooled features are
``Wy · F · Wxᵀ``. Samples per bin follow He et al. (2017): ceil(box side / bins) on each axis, box
coordinates without half-pixel shift, as ``torchvision.ops.roi_align`` does by default.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _axis_weights(low: Tensor, high: Tensor, bins: int, size: int) -> Tensor:
    """How much each cell of an axis counts for each bin.

    Args:
        low: (N,) start of the boxes on this axis, cells.
        high: (N,) their end.
        size: cells on the axis.

    Returns:
        (N, bins, size).
    """
    extent = (high - low).clamp(min=1.0)
    per_bin = torch.ceil(extent / bins)
    samples = torch.arange(int(per_bin.max()), device=low.device, dtype=low.dtype)
    offset = (samples[None] + 0.5) / per_bin[:, None]
    bin_index = torch.arange(bins, device=low.device, dtype=low.dtype)
    step = (extent / bins)[:, None, None]
    position = low[:, None, None] + (bin_index[None, :, None] + offset[:, None, :]) * step
    inside = (position >= -1.0) & (position <= size) & (samples < per_bin[:, None, None])
    cells = torch.arange(size, device=low.device, dtype=low.dtype)
    distance = position.clamp(0, size - 1)[..., None] - cells
    hat = (1.0 - distance.abs()).clamp(min=0) * inside[..., None]
    return hat.sum(dim=2) / per_bin[:, None, None]


def roi_align(features: Tensor, boxes: Tensor, image_index: Tensor, bins: int) -> Tensor:
    """Pool the features under boxes to ``bins`` × ``bins``.

    Args:
        features: (B, C, h, w).
        boxes: (N, 4) x0 y0 x1 y1 in cells of the feature map.
        image_index: (N,) int64, the image each box lies in.

    Returns:
        (N, C, bins, bins), in the features' dtype; summed in float32.
    """
    if boxes.shape[0] == 0:
        return features.new_zeros(0, features.shape[1], bins, bins)
    height, width = features.shape[-2:]
    x0, y0, x1, y1 = boxes.float().unbind(-1)
    rows = _axis_weights(y0, y1, bins, height)
    columns = _axis_weights(x0, x1, bins, width)
    maps = features.float()[image_index]
    pooled = torch.einsum("nyh,nchw,nxw->ncyx", rows, maps, columns)
    return pooled.to(features.dtype)
