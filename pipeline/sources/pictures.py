"""Reads picture files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maskstream.core.errors import SourceError
from maskstream.core.pictures import picture_to_rgb

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)


def load_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file.

    Returns:
        (H, W, 3) uint8 RGB, EXIF rotation applied; other modes as in ``picture_to_rgb``.

    Raises:
        SourceError: the file is missing, cut short, or not a picture.
    """
    try:
        with Image.open(path) as picture:
            return picture_to_rgb(picture)
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} is not a picture that can be read") from error
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} cannot be decoded: {error}") from error
