"""What the networks share: a frame as they take it, masks of any size, distances in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from maskstream.core.errors import InputError
from maskstream.core.position import sine_position_2d

if TYPE_CHECKING:
    from maskstream.tracker.network.mask_decoder import MaskHeads

# Mask logits of an object that isn't in the frame.
NO_OBJECT_LOGIT = -1024.0
# Logits of a mask that was given: ±10.
GIVEN_MASK_SCALE = 20.0
GIVEN_MASK_BIAS = -10.0
TEMPERATURE = 10000.0


@dataclass(frozen=True, slots=True)
class FrameEmbedding:
    """One frame, ready for any number of masklets.

    Attributes:
        high_res: (1, C/8, 4h, 4w) and (1, C/4, 2h, 2w), projected for the mask decoder.
        image: (1, C, h, w), the coarsest features.
        position: (1, C, h, w), their sine encoding.
    """

    high_res: tuple[Tensor, Tensor]
    image: Tensor
    position: Tensor


def embed_levels(
    levels: tuple[Tensor, Tensor, Tensor], decoder: MaskHeads, grid: tuple[int, int], hidden: int
) -> FrameEmbedding:
    """Do what is the same for all masklets of a frame.

    Args:
        levels: (1, C, 4h, 4w), (1, C, 2h, 2w) and (1, C, h, w), the features of the frame.
        decoder: will decode in the frame.
        grid: (h, w).
        hidden: C.

    Raises:
        InputError: a level has another shape.
    """
    height, width = grid
    for level, scale in zip(levels, (4, 2, 1), strict=True):
        wanted = (1, hidden, scale * height, scale * width)
        if tuple(level.shape) != wanted:
            raise InputError(
                f"tracker features of shape {tuple(level.shape)}; this model takes {wanted}"
            )
    fine, middle, coarse = levels
    return FrameEmbedding(
        high_res=(decoder.conv_s0(fine), decoder.conv_s1(middle)),
        image=coarse,
        position=sine_position_2d(height, width, hidden, coarse.device, coarse.dtype),
    )


def as_tokens(image: Tensor) -> Tensor:
    """(N, C, h, w) to (N, h*w, C)."""
    return image.flatten(2).transpose(1, 2)


def resize(masks: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    """Resize (N, H, W) bilinearly to ``size`` in float32; as they are where they have that size."""
    if tuple(masks.shape[-2:]) == size:
        return masks.float()
    return functional.interpolate(
        masks[:, None].float(), size=size, mode="bilinear", align_corners=False, antialias=antialias
    )[:, 0]


def time_code(offsets: Tensor, channels: int) -> Tensor:
    """Sine encoding of distances in time: (…) floats to (…, channels) float32, sines first."""
    half = channels // 2
    steps = torch.arange(half, device=offsets.device, dtype=torch.float32)
    divisors = TEMPERATURE ** (2 * torch.div(steps, 2, rounding_mode="floor") / half)
    angles = offsets.float()[..., None] / divisors
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
