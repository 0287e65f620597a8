"""Where one clicks."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def deepest(region: Tensor) -> Tensor:
    """The cell of each (N, H, W) bool map that lies farthest from its edge: (N, 2) x y.

    The customary place of a simulated click (Sofiiuk et al., 2022). An empty map gives 0, 0.
    """
    places = []
    for one in region.cpu().numpy():
        depth = distance_transform_edt(np.pad(one, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        places.append((float(x), float(y)))
    return torch.tensor(places, device=region.device)
