"""Position encodings: sine and cosine of image positions and boxes, and axial rotary embedding.

The sine encodings are those of DETR (Carion et al., 2020, appendix A.4), the rotary one is RoPE
(Su et al., 2021) with half of a head's channels turned by x and half by y.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

TEMPERATURE = 10000.0


def sine_frequencies(
    num_features: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Divisors of the sine encoding, (num_features,): each value stands twice, for sin and cos."""
    steps = torch.arange(num_features, device=device, dtype=dtype)
    exponent = 2 * torch.div(steps, 2, rounding_mode="floor") / num_features
    divisors: Tensor = TEMPERATURE**exponent
    return divisors


def sine_encode(positions: Tensor, num_features: int) -> Tensor:
    """Interleaved sine and cosine of scalar positions.

    Args:
        positions: (...,) in units where one full turn is 2π.

    Returns:
        (..., num_features): sin, cos, sin, cos, … at falling frequencies.
    """
    angles = positions[..., None] / sine_frequencies(
        num_features, positions.device, positions.dtype
    )
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a table first made for inference must serve training too
def sine_position_2d(
    height: int,
    width: int,
    dim: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sine encoding of every cell of a grid, y in the first half of the channels, x in the second.

    Cells are counted from 1 and normalised so that the last cell stands at 2π.

    Returns:
        (1, dim, height, width). Shared between callers: do not write into it.
    """
    turn = 2 * math.pi
    y = torch.arange(1, height + 1, device=device, dtype=torch.float32) / (height + 1e-6) * turn
    x = torch.arange(1, width + 1, device=device, dtype=torch.float32) / (width + 1e-6) * turn
    y_code = sine_encode(y, dim // 2)[:, None, :].expand(height, width, -1)
    x_code = sine_encode(x, dim // 2)[None, :, :].expand(height, width, -1)
    code = torch.cat((y_code, x_code), dim=-1)
    return code.permute(2, 0, 1).unsqueeze(0).contiguous().to(dtype)


def sine_position_boxes(boxes: Tensor, dim: int) -> Tensor:
    """Sine encoding of boxes for decoder queries.

    Args:
        boxes: (..., 4) cx, cy, w, h in [0, 1].
        dim: width of the model; each of the four numbers gets dim / 2 channels.

    Returns:
        (..., 2 * dim), in the order cy, cx, w, h.
    """
    code = sine_encode(boxes * (2 * math.pi), dim // 2)
    cx, cy, width, height = code.unbind(-2)
    return torch.cat((cy, cx, width, height), dim=-1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def axial_rope(
    height: int,
    width: int,
    head_dim: int,
    theta: float = TEMPERATURE,
    scale: float = 1.0,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Cosine and sine tables of two-axis rotary embedding.

    Args:
        head_dim: channels of one head, a multiple of 4. The first half turns with x, the second
            with y; neighbouring channels form the pairs that are turned.
        scale: multiplies cell positions, so that a larger grid spans the trained range.

    Returns:
        Two tensors (height * width, head_dim) float32, rows in row-major cell order. Shared
        between callers: do not write into them.
    """
    half = head_dim // 2
    frequencies = 1.0 / theta ** (
        torch.arange(0, half, 2, device=device, dtype=torch.float32) / half
    )
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32) * scale,
        torch.arange(width, device=device, dtype=torch.float32) * scale,
        indexing="ij",
    )
    angles = torch.cat(
        (x.flatten()[:, None] * frequencies, y.flatten()[:, None] * frequencies), dim=-1
    ).repeat_interleave(2, dim=-1)
    return angles.cos(), angles.sin()


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def axial_turns(
    height: int,
    width: int,
    head_dim: int,
    theta: float = TEMPERATURE,
    scale: float = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """The turns of :func:`axial_rope` as unit complex numbers.

    Returns:
        (height * width, head_dim / 2) complex64. Shared between callers: do not write into it.
    """
    cos, sin = axial_rope(height, width, head_dim, theta, scale, device)
    return torch.complex(cos[:, ::2].contiguous(), sin[:, ::2].contiguous())


def turn_pairs(x: Tensor, turns: Tensor) -> Tensor:
    """Turn neighbouring channel pairs.

    One complex product in place of six passes over the data.

    Args:
        x: (..., D), D even.
        turns: complex, broadcastable to (..., D / 2).
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
