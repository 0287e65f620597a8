"""Where one clicks: as customary for simulated clicks, deepest inside (Sofiiuk et al., 2022)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def deepest(region: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Row and column of the pixel of a region that is farthest from all outside of it.

    What lies beyond the picture is outside. The first in reading order wins among equals; None
    for an empty region.
    """
    if not region.any():
        return None
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), region.shape)
    return int(row), int(column)


def deepest_cells(regions: Tensor) -> Tensor:
    """:func:`deepest` of each (N, H, W) bool map: (N, 2) float x y; 0, 0 for an empty one."""
    places = [deepest(region) or (0, 0) for region in regions.cpu().numpy()]
    return regions.new_tensor([(x, y) for y, x in places], dtype=torch.float32)
