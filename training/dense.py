"""Dense supervision of the image encoder: what colour, shape and object each cell shows.

Words and queries give the encoder a thin signal at first. Linear read-outs of its three levels,
used in training only, teach it within minutes what there is to see.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data import TEMPLATE, DetectorBatch
from training.vocabulary import COLORS, SHAPES


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


class DenseHead(nn.Module):
    """A linear read-out for each of the neck's three levels."""

    color_weight: Tensor
    shape_weight: Tensor

    def __init__(self, channels: int, num_levels: int = 3) -> None:
        super().__init__()
        self.sizes = (len(COLORS) + 1, len(SHAPES) + 1, 4, 4, TEMPLATE * TEMPLATE)
        self.readouts = nn.ModuleList(
            nn.Conv2d(channels, sum(self.sizes), kernel_size=1) for _ in range(num_levels)
        )
        # Most cells are background.
        for name, size in (("color_weight", self.sizes[0]), ("shape_weight", self.sizes[1])):
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
            colors, shapes = batch.colors[:, pick, pick], batch.shapes[:, pick, pick]
            color_logits, shape_logits, edges, boxes, stencils = readout(level).split(self.sizes, 1)
            total = total + functional.cross_entropy(color_logits, colors, self.color_weight)
            total = total + functional.cross_entropy(shape_logits, shapes, self.shape_weight)
            inside = (colors > 0)[:, None]
            error = (edges - batch.edges[:, :, pick, pick]).abs()
            error = error + (boxes - absolute_boxes(batch.edges)[:, :, pick, pick]).abs()
            total = total + 3.0 * stencil_loss(
                stencils, batch.owners[:, pick, pick], batch.stencils
            )
            total = total + 2.0 * (error * inside).sum() / inside.sum().clamp(min=1)
        return total

    @torch.no_grad()
    def accuracy(self, levels: tuple[Tensor, ...], batch: DetectorBatch) -> tuple[float, float]:
        """Share of foreground cells of the finest level with the right colour and shape."""
        color_logits, shape_logits, *_ = self.readouts[0](levels[0]).split(self.sizes, 1)
        inside = batch.colors > 0
        right_color = (color_logits.argmax(1) == batch.colors)[inside].float().mean()
        right_shape = (shape_logits.argmax(1) == batch.shapes)[inside].float().mean()
        return float(right_color), float(right_shape)
