"""Reads picture files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import ImageError, SourceError
from maskstream.core.picture_files import PictureFile


def open_picture(path: Path) -> PictureFile:
    """Open a picture file; nothing is decoded yet.

    Raises:
        SourceError: the file is missing, too large, or not a picture.
    """
    try:
        return PictureFile(path)
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be opened: {error.strerror or error}") from error
    except ImageError as error:
        raise SourceError(f"{path}: {error}") from error


def load_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file; of several frames, the first.

    Returns:
        (H, W, 3) uint8 RGB, EXIF rotation applied; other modes as in ``picture_to_rgb``.

    Raises:
        SourceError: the file is missing, too large, cut short, or not a picture.
    """
    with open_picture(path) as picture:
        try:
            return picture.rgb()
        except ImageError as error:
            raise SourceError(f"{path}: {error}") from error
