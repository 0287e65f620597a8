"""Dense supervision of the image encoder: what colour, kind and object each cell shows.

Words and queries give the encoder a thin signal at first. Linear read-outs of its three levels,
used in training only, teach it within minutes what there is to see.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data import DetectorBatch
from training.frames import TEMPLATE
from training.names import KINDS
from training.vocabulary import COLORS


def absolute_boxes(edges: Tensor) -> Tensor:
    """Boxes as they stand in the picture, out of each cell's distances to their edges.

    The cells of one object share one value here: it tells objects apart and says at once where
    each of them is.

    Args:
        edges: (B, 4, H, W), distances to left, top, right and bottom, normalised.

    Returns:
        (B, 4, H, W): cx, cy, w, h.
    """
    height, width = edges.shape[-2:]
    left, top, right, bottom = edges.unbind(1)
    x = (torch.arange(width, device=edges.device) + 0.5) / width
    y = ((torch.arange(height, device=edges.device) + 0.5) / height)[:, None]
    center = (x + (right - left) / 2, y + (bottom - top) / 2)
    return torch.stack((*center, left + right, top + bottom), 1)


def stencil_loss(logits: Tensor, owners: Tensor, stencils: Tensor) -> Tensor:
    """How well each cell of an object knows the outline of the whole.

    Args:
        logits: (B, T, h, w), one for every point of the stencil.
        owners: (B, h, w), number of the object that a cell shows, -1 for none.
        stencils: (B, G, T) in [0, 1].
    """
    image, y, x = (owners >= 0).nonzero(as_tuple=True)
    if not len(image):
        return logits.sum() * 0.0
    truth = stencils[image, owners[image, y, x]]
    return functional.binary_cross_entropy_with_logits(logits[image, :, y, x], truth)


def masked_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Mean cross-entropy over cells with labels of 0 and more; 0 where there are none.

    Args:
        logits: (B, C, h, w).
        labels: (B, h, w) int64.
        weight: (C,) factor of each label.
    """
    if not bool((labels >= 0).any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, labels, weight, ignore_index=-1)


class DenseHead(nn.Module):
    """A linear read-out for each of the neck's three levels."""

    color_weight: Tensor
    kind_weight: Tensor

    def __init__(self, channels: int, num_levels: int = 3) -> None:
        super().__init__()
        self.sizes = (len(COLORS) + 1, len(KINDS) + 1, 4, 4, TEMPLATE * TEMPLATE)
        self.readouts = nn.ModuleList(
            nn.Conv2d(channels, sum(self.sizes), kernel_size=1) for _ in range(num_levels)
        )
        # Most cells are background.
        for name, size in (("color_weight", self.sizes[0]), ("kind_weight", self.sizes[1])):
            weight = torch.ones(size)
            weight[0] = 0.25
            self.register_buffer(name, weight, persistent=False)

    def forward(self, levels: tuple[Tensor, ...], batch: DetectorBatch) -> Tensor:
        """Loss over the levels given.

        Args:
            levels: the coarsest of the neck's levels, fine to coarse; the first of all three is
                on the grid of the batch's truth, each next one half as large.
            batch: the truth.
        """
        total = levels[0].new_zeros(())
        first = len(self.readouts) - len(levels)
        for index, level in enumerate(levels, start=first):
            readout = self.readouts[index]
            step = 2**index
            # The cell at a coarse cell's centre stands for it.
            pick = slice(step // 2, None, step)
            colors, kinds = batch.colors[:, pick, pick], batch.kinds[:, pick, pick]
            color_logits, kind_logits, edges, boxes, stencils = readout(level).split(self.sizes, 1)
            total = total + masked_entropy(color_logits, colors, self.color_weight)
            total = total + masked_entropy(kind_logits, kinds, self.kind_weight)
            owners = batch.owners[:, pick, pick]
            inside = (owners >= 0)[:, None]
            error = (edges - batch.edges[:, :, pick, pick]).abs()
            error = error + (boxes - absolute_boxes(batch.edges)[:, :, pick, pick]).abs()
            total = total + 3.0 * stencil_loss(stencils, owners, batch.stencils)
            total = total + 2.0 * (error * inside).sum() / inside.sum().clamp(min=1)
        return total

    @torch.no_grad()
    def accuracy(self, levels: tuple[Tensor, ...], batch: DetectorBatch) -> tuple[float, float]:
        """Share of cells with a named colour, and of those with a named kind, that are right.

        Args:
            levels: as for ``forward``; the coarsest is judged.
            batch: the truth.
        """
        index = len(self.readouts) - 1
        step = 2**index
        pick = slice(step // 2, None, step)
        color_logits, kind_logits, *_ = self.readouts[index](levels[-1]).split(self.sizes, 1)
        shares = []
        for logits, labels in ((color_logits, batch.colors), (kind_logits, batch.kinds)):
            truth = labels[:, pick, pick]
            named = truth > 0
            shares.append(float((logits.argmax(1) == truth)[named].float().mean()))
        return shares[0], shares[1]
