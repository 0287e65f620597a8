"""Pictures of any kind to the square tensor the model takes.

As the original does it: quantise to 8 bits, resize bilinearly with anti-aliasing (the aspect ratio
is not kept), then map to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from maskstream.core.errors import ImageError
from maskstream.core.pictures import has_channels_first, picture_to_rgb

Picture = Image.Image | NDArray[Any] | Tensor


def to_rgb(image: Picture) -> Tensor:
    """Any accepted picture as (3, H, W) uint8 RGB.

    Args:
        image: a PIL image or an array (H, W, ·) or (·, H, W), as
            :func:`maskstream.core.pictures.picture_to_rgb` takes them; or a tensor (3, H, W) or
            (H, W, 3), uint8 or floating-point with values in [0, 1].

    Raises:
        ImageError: wrong type, shape, dtype or range, NaN, or no pixels.
    """
    if not isinstance(image, Tensor):
        return torch.from_numpy(_writeable(picture_to_rgb(image))).permute(2, 0, 1)
    if image.ndim == 3 and image.shape[0] != 3 and image.shape[2] == 3:
        image = image.permute(2, 0, 1)
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ImageError(
            f"tensor image has shape {tuple(image.shape)}; it must be (3, H, W) with pixels in it"
        )
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise ImageError(
            f"image has dtype {image.dtype}; it must be uint8, or float with values in [0, 1]"
        )
    array = image.detach().permute(1, 2, 0).float().cpu().numpy()
    return torch.from_numpy(_writeable(picture_to_rgb(array))).permute(2, 0, 1)


def _writeable(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """torch cannot share memory that it must not write."""
    return image if image.flags.writeable else image.copy()


def resize_rgb(image: Tensor, size: int) -> Tensor:
    """(3, H, W) uint8 to (1, 3, size, size) uint8."""
    batch = image.unsqueeze(0)
    if batch.is_cuda:  # no 8-bit resizing there
        resized = functional.interpolate(
            batch.float(), (size, size), mode="bilinear", antialias=True
        )
        return resized.round().clamp(0, 255).to(torch.uint8)
    return functional.interpolate(batch, (size, size), mode="bilinear", antialias=True)


def to_pixels(
    images: Sequence[Picture],
    size: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Pictures of any sizes as one batch (B, 3, size, size) in [-1, 1].

    Raises:
        ImageError: see :func:`to_rgb`; or there is no picture.
    """
    if not images:
        raise ImageError("there is no image; give at least one")
    batch = torch.cat([resize_rgb(to_rgb(image), size).to(device) for image in images])
    return (batch.to(dtype) / 255 - 0.5) / 0.5


def picture_size(image: Picture) -> tuple[int, int]:
    """(height, width) of an accepted picture, as it is seen."""
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        return upright.height, upright.width
    if isinstance(image, np.ndarray):
        first = 1 if has_channels_first(image.shape) else 0
    else:
        first = 0 if image.shape[0] != 3 and image.shape[2] == 3 else 1
    return image.shape[first], image.shape[first + 1]
