"""Reads masks out of picture files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskstream.core.errors import ImageError, SourceError
from maskstream.core.picture_files import PictureFile
from maskstream.pipeline.sources.pictures import open_picture

# Their values are counts or levels; those of all other modes are turned into colours first.
_PLAIN_MODES = ("1", "L", "P", "RGB", "F")


def load_mask(path: Path, width: int, height: int) -> NDArray[np.bool_]:
    """Read the mask of one object.

    A picture with transparent parts is a cut-out: what is at least half opaque is the object. Of
    any other picture, the pixels that are not 0 are; with a palette, those whose index is not 0.

    Args:
        path: the picture.
        width: width of the frames. Another size is refused before anything is decoded.
        height: their height.

    Returns:
        (H, W) bool.

    Raises:
        SourceError: there is no such picture, or it is none of a mask: of another size, empty, or
            all set.
    """
    with open_picture(path) as file:
        if (file.width, file.height) != (width, height):
            raise SourceError(
                f"the mask is {file.width}×{file.height} pixels; it must be {width}×{height} like "
                "the frames"
            )
        try:
            mask = _inside(file)
        except ImageError as error:
            raise SourceError(f"{path}: {error}") from error
    if not mask.any():
        raise SourceError("the mask is empty: no pixel differs from 0")
    if mask.all():
        raise SourceError(
            "the mask covers the whole frame, so it shows no object; it must be 0, or transparent, "
            "outside the object"
        )
    return mask


def _inside(file: PictureFile) -> NDArray[np.bool_]:
    picture = file.decoded()
    alpha = _alpha(picture)
    if alpha is not None and alpha.min() < 255:
        return alpha >= 128
    if picture.mode in ("LA", "PA"):
        picture = picture.getchannel(0)
    elif picture.mode not in _PLAIN_MODES and not picture.mode.startswith("I"):
        picture = picture.convert("RGB")
    inside: NDArray[np.bool_] = np.not_equal(np.asarray(picture), 0)
    return inside if inside.ndim == 2 else np.logical_or.reduce(inside, axis=2)


def _alpha(picture: Image.Image) -> NDArray[np.uint8] | None:
    """(H, W) opacity, or None if the picture says nothing about it."""
    if not picture.has_transparency_data:
        return None
    return np.asarray(picture.convert("RGBA").getchannel("A"))
