"""Pictures and masks to measure with."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.names import KINDS
from training.scenes import ClipRenderer
from training.spec import make_clip
from training.vocabulary import ABSENT_NOUNS, COLORS

SEED = 910_000
NUM_OBJECTS = (9, 10)
ABSENT = ABSENT_NOUNS[:16]


class Scene:
    """An endless clip of things with names and what is in it."""

    def __init__(self, side: int) -> None:
        spec = make_clip(SEED, "validation", num_objects=NUM_OBJECTS, aspect=1.0, named_only=True)
        self._renderer = ClipRenderer(spec, (side, side), supersample=2)
        first = self._renderer.frame(0)
        sizes = first.visible.sum((1, 2))
        names = {
            _name(int(first.kinds[i]), int(first.colors[i])): None
            for i in np.argsort(-sizes).tolist()
            if sizes[i] > 0
        }
        self.present = list(names)

    def picture(self, frame_index: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3)."""
        picture: npt.NDArray[np.uint8] = self._renderer.frame(frame_index).image
        return picture

    def texts(self, count: int, num_present: int) -> list[str]:
        """Concepts to look for: so many that are in the picture, repeated if need be, the rest not.

        The absent ones are no more than :data:`ABSENT`, repeated too.
        """
        there = [self.present[i % len(self.present)] for i in range(num_present)]
        return there + [ABSENT[i % len(ABSENT)] for i in range(count - num_present)]


def _name(kind: int, color: int) -> str:
    return KINDS[kind].name if color < 0 else f"{COLORS[color]} {KINDS[kind].name}"


def disc_masks(count: int, size: tuple[int, int]) -> Tensor:
    """(count, H, W) mask logits of discs side by side on a square grid."""
    height, width = size
    side = math.ceil(math.sqrt(count))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cell = torch.tensor([height / side, width / side])
    radius = 0.4 * float(cell.min())
    discs = []
    for index in range(count):
        cy, cx = (index // side + 0.5) * cell[0], (index % side + 0.5) * cell[1]
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        discs.append(torch.where(inside, 10.0, -10.0))
    return torch.stack(discs)
