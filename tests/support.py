"""Random weights and plain reference computations that several tests share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def randomise(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    """Fill one parameter so that nothing it does is degenerate and activations keep their scale.

    Norm weights spread around 1, biases and positions around 0, and nothing stays at the zero,
    one or 1e-6 that training starts from.
    """
    tensor.normal_(generator=generator)
    if name.endswith("bias") or "position_embedding" in name:
        tensor.mul_(0.2)
    elif name.endswith("reference_points.weight") or "positional_embedding" in name:
        pass
    elif tensor.dim() == 1:
        tensor.mul_(0.2).add_(1.0)
    elif tensor.dim() == 2 and name.endswith(("embed.weight", "embedding.weight", "token.weight")):
        pass
    else:
        tensor.mul_(1.2 / math.sqrt(tensor[0].numel()))


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill all parameters of a module, see :func:`randomise`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            randomise(name, parameter, generator)
    return module


def roi_align_by_definition(features: Tensor, boxes: list[Tensor], output_size: int) -> Tensor:
    """ROI align as torchvision's defaults define it, sample by sample.

    Args:
        features: (B, C, h, w).
        boxes: for each image (N, 4) x0 y0 x1 y1 in cells.

    Returns:
        (sum of N, C, output_size, output_size).
    """
    _, channels, height, width = features.shape
    pooled = []
    for image, image_boxes in zip(features, boxes, strict=True):
        for x0, y0, x1, y1 in image_boxes.tolist():
            box_height, box_width = max(y1 - y0, 1.0), max(x1 - x0, 1.0)
            rows = math.ceil(box_height / output_size)
            columns = math.ceil(box_width / output_size)
            out = torch.zeros(channels, output_size, output_size)
            for i in range(output_size):
                for j in range(output_size):
                    for r in range(rows):
                        for c in range(columns):
                            y = y0 + (i + (r + 0.5) / rows) * box_height / output_size
                            x = x0 + (j + (c + 0.5) / columns) * box_width / output_size
                            out[:, i, j] += bilinear_sample(image, y, x, height, width)
            pooled.append(out / (rows * columns))
    return torch.stack(pooled)


def bilinear_sample(image: Tensor, y: float, x: float, height: int, width: int) -> Tensor:
    """Value (C,) of an image (C, h, w) at a point in cells; zero beyond one cell outside."""
    if y < -1.0 or y > height or x < -1.0 or x > width:
        return torch.zeros(image.shape[0])
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    above = image[:, top, left] * (1 - dx) + image[:, top, right] * dx
    below = image[:, bottom, left] * (1 - dx) + image[:, bottom, right] * dx
    return above * (1 - dy) + below * dy
