"""Any picture to 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from maskstream.core.errors import ImageError

Picture = Image.Image | NDArray[Any]

_CHANNELS = (1, 3, 4)


def picture_to_rgb(picture: Picture) -> NDArray[np.uint8]:
    """Convert a PIL image or a numpy array.

    - PIL: EXIF rotation is applied. Transparent pixels are laid over black, which is also what
      dropping the alpha channel of a cut-out gives.
    - numpy: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or with the channels first, uint8, uint16,
      bool, or floating-point with values in [0, 1].
    - 16 bits are scaled to 8 (65535 → 255); grey is repeated three times.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: another shape, dtype or range, NaN, or an empty picture.
    """
    if isinstance(picture, Image.Image):
        return _from_pil(picture)
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    raise ImageError(f"a picture is a PIL image or a numpy array, not {type(picture).__name__}")


def has_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether this is the shape of a picture (C, H, W); what could be (H, W, C) too is that."""
    return len(shape) == 3 and shape[2] not in _CHANNELS and shape[0] in _CHANNELS


def _from_pil(picture: Image.Image) -> NDArray[np.uint8]:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16-bit grey; PIL would clip it at 255
        return _from_array(np.clip(np.asarray(picture), 0, 65535).astype(np.uint16))
    if picture.mode == "F":
        raise ImageError("a picture of floating-point values has no known range; convert it first")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
    elif picture.mode != "RGB":
        picture = picture.convert("RGB")
    return _from_array(np.asarray(picture))


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    shape = array.shape
    if array.ndim == 2:
        array = array[:, :, None]
    if has_channels_first(shape):
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or 0 in array.shape:
        raise ImageError(
            f"a picture has shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {shape}"
        )
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) * 255 + 32767) // 65535
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        array = _quantised(array)
    elif array.dtype != np.uint8:
        raise ImageError(f"a picture has dtype uint8, uint16, bool or float, not {array.dtype}")
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.uint32)
        array = (array[:, :, :3] * alpha + 127) // 255
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array, dtype=np.uint8)


def _quantised(array: NDArray[Any]) -> NDArray[np.uint8]:
    """[0, 1] in 256 equal steps."""
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("the picture holds NaN or infinite values")
    if low < 0 or high > 1:
        raise ImageError(
            f"a floating-point picture has values in [0, 1], not from {low:.4g} to {high:.4g}"
        )
    return (array.astype(np.float32) * (256 - 1e-3)).astype(np.uint8)
