"""Sources of frames: video files, folders of pictures, single pictures, arrays in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskstream.core.errors import SourceError
from maskstream.core.picture_files import SUFFIXES
from maskstream.core.pictures import Picture, picture_to_rgb
from maskstream.pipeline.sources.base import Frame, FrameSource, SourceInfo, SourceKind
from maskstream.pipeline.sources.images import ArraySource, FolderSource, ImageSource
from maskstream.pipeline.sources.pictures import load_picture
from maskstream.pipeline.sources.roots import AllowedRoots
from maskstream.pipeline.sources.video import VideoSource

__all__ = [
    "ArraySource",
    "FolderSource",
    "Frame",
    "FrameSource",
    "ImageSource",
    "SourceInfo",
    "SourceKind",
    "VideoSource",
    "load_picture",
    "open_source",
    "picture_to_rgb",
]


# FFmpeg gives all frames of one, with their times.
_ANIMATED = ".gif"


def open_source(
    source: str | Path | Picture | Sequence[Picture] | NDArray[Any],
    *,
    start_frame: int = 0,
    fps: Fraction | float | None = None,
    allowed_roots: Iterable[Path] | None = None,
) -> FrameSource:
    """Open a source of frames.

    Args:
        source: a video file, a folder of JPEG or PNG frames, a picture file; or in memory a PIL
            image, one (H, W, 3) array, a (T, H, W, 3) array, or a sequence of pictures.
        start_frame: index of the first frame of plain iteration, 0-based.
        fps: frames per second of a folder or of pictures in memory, which have no time stamps. A
            video file ignores it.
        allowed_roots: folders that all files must lie in, links followed; also those that a
            playlist or a folder leads to. None allows any.

    Raises:
        SourceError: the source is missing, empty, or cannot be read; the message says which.
        ImageError: a picture in memory has an unusable shape or dtype.
        InputError: ``start_frame`` is negative, or beyond the end if the length is known; or a file
            does not lie in one of ``allowed_roots``.
    """
    if isinstance(source, str | Path):
        return _open_path(source, start_frame, fps, AllowedRoots.of(allowed_roots))
    if isinstance(source, Image.Image):
        return ArraySource([source], start_frame=start_frame, fps=fps)
    if isinstance(source, np.ndarray):
        pictures: NDArray[Any] | list[NDArray[Any]] = source if source.ndim == 4 else [source]
        return ArraySource(pictures, start_frame=start_frame, fps=fps)
    if isinstance(source, list | tuple):
        return ArraySource(source, start_frame=start_frame, fps=fps)
    raise SourceError(
        f"a source is a path, a picture or a sequence of pictures, not {type(source).__name__}"
    )


def _open_path(
    source: str | Path, start_frame: int, fps: Fraction | float | None, roots: AllowedRoots
) -> FrameSource:
    if "://" in str(source):
        raise SourceError("a source is a file or a folder here, not a URL")
    path = Path(source)
    roots.resolve(path)
    try:
        if path.is_dir():
            return FolderSource(path, start_frame=start_frame, fps=fps, roots=roots)
        if not path.is_file():
            what = "is not a file or folder" if path.exists() else "does not exist"
            raise SourceError(f"{path} {what}")
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
        if path.suffix.lower() in SUFFIXES and path.suffix.lower() != _ANIMATED:
            return ImageSource(path, start_frame=start_frame)
        return VideoSource(path, start_frame=start_frame, roots=roots)
    except OSError as error:
        raise SourceError(f"{path} cannot be opened: {error.strerror or error}") from error
