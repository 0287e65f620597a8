"""What the networks share: a frame as they take it, masks of any size, distances in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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
