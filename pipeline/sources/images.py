"""Sources with random access: folders of pictures, single pictures, pictures in memory."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskstream.core.closing import Closing
from maskstream.core.errors import ImageError, SourceError
from maskstream.core.picture_files import SUFFIXES
from maskstream.core.pictures import Picture, picture_to_rgb
from maskstream.pipeline.sources.base import Frame, SourceInfo, SourceKind, check_index
from maskstream.pipeline.sources.pictures import load_picture
from maskstream.pipeline.sources.roots import ANYWHERE, AllowedRoots


class IndexedSource(Closing):
    """Base of sources that load each frame by its index and hold only the current one."""

    def __init__(
        self, name: str, kind: SourceKind, num_frames: int, start_frame: int, fps: Fraction | None
    ) -> None:
        check_index(start_frame, name, num_frames)
        self.start_frame = start_frame
        self._num_frames = num_frames
        height, width = self._load(0).shape[:2]
        self._info = SourceInfo(
            width=width,
            height=height,
            fps=fps,
            num_frames=num_frames,
            duration_s=None if fps is None else float(num_frames / fps),
            kind=kind,
            name=name,
        )

    @property
    def info(self) -> SourceInfo:
        """Size of the first frame, and the exact number of frames."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """Iterate from ``start_frame`` to the end."""
        return self.iterate()

    def iterate(
        self, start: int | None = None, stop: int | None = None, *, reverse: bool = False
    ) -> Iterator[Frame]:
        """See ``FrameSource.iterate``."""
        if start is None:
            start = self._num_frames - 1 if reverse else self.start_frame
        check_index(start, self._info.name, self._num_frames)
        if reverse:
            indices = range(start, -1 if stop is None else max(stop, -1), -1)
        else:
            indices = range(start, self._num_frames if stop is None else stop)
        return (self.read(index) for index in indices if index < self._num_frames)

    def read(self, index: int) -> Frame:
        """See ``FrameSource.read``."""
        check_index(index, self._info.name, self._num_frames)
        image = self._load(index)
        height, width = image.shape[:2]
        if (width, height) != (self._info.width, self._info.height):
            raise SourceError(
                f"{self._name_of(index)} is {width}×{height} pixels, but the first frame is "
                f"{self._info.width}×{self._info.height}; all frames must have one size"
            )
        fps = self._info.fps
        return Frame(index, None if fps is None else float(index / fps), image)

    def frame_name(self, index: int) -> str:
        """The picture's file name, or a name made from its number."""
        return Path(self._name_of(index)).name

    def count_frames(self) -> int:
        """The exact number of frames."""
        return self._num_frames

    def close(self) -> None:
        """Do nothing: no file is open."""
        return

    @abstractmethod
    def _load(self, index: int) -> NDArray[np.uint8]:
        """Load one frame: (H, W, 3) uint8 RGB."""

    @abstractmethod
    def _name_of(self, index: int) -> str:
        """Name of a frame in messages: its path, or a name made from its number."""


class FolderSource(IndexedSource):
    """A folder of pictures in the order of the numbers in their names (``2.jpg`` < ``10.jpg``).

    Only file names are kept in memory. All pictures must have the size of the first. Hidden files
    and files that are no pictures are skipped.
    """

    def __init__(
        self,
        path: Path,
        *,
        start_frame: int = 0,
        fps: Fraction | float | None = None,
        roots: AllowedRoots = ANYWHERE,
    ) -> None:
        """List the folder and read its first picture.

        Raises:
            SourceError: the folder has no picture, or its first one cannot be read.
            InputError: ``start_frame`` is not a frame of the folder, or the first picture is a link
                to a file outside the folders ``roots``.
        """
        self._path = path
        self._roots = roots
        self._names = sorted(
            (
                entry.name
                for entry in path.iterdir()
                if entry.suffix.lower() in SUFFIXES
                and not entry.name.startswith(".")
                and entry.is_file()
            ),
            key=_natural_key,
        )
        if not self._names:
            raise SourceError(f"{path} holds no picture; expected JPEG or PNG files in it")
        super().__init__(path.name, "frames", len(self._names), start_frame, as_fps(fps))

    def _load(self, index: int) -> NDArray[np.uint8]:
        return load_picture(self._roots.resolve(self._path / self._names[index]))

    def _name_of(self, index: int) -> str:
        return str(self._path / self._names[index])


class ImageSource(IndexedSource):
    """A single picture: a source of one frame."""

    def __init__(self, path: Path, *, start_frame: int = 0) -> None:
        """Read the picture.

        Raises:
            SourceError: the picture cannot be read.
            InputError: ``start_frame`` is not 0.
        """
        self._path = path
        super().__init__(path.name, "image", 1, start_frame, None)

    def _load(self, index: int) -> NDArray[np.uint8]:
        return load_picture(self._path)

    def _name_of(self, index: int) -> str:
        return str(self._path)


class ArraySource(IndexedSource):
    """Pictures in memory: a (T, H, W, 3) array, or a sequence of PIL images and arrays.

    The pictures are not copied; each is converted when it is read.
    """

    def __init__(
        self,
        pictures: NDArray[Any] | Sequence[Picture],
        *,
        start_frame: int = 0,
        fps: Fraction | float | None = None,
        name: str = "frames in memory",
    ) -> None:
        """Check the first picture.

        Raises:
            ImageError: there is no picture, or the first one has an unusable shape or dtype.
            InputError: ``start_frame`` is not a frame of the source.
        """
        if len(pictures) == 0:
            raise ImageError(f"{name}: there is no picture")
        self._pictures = pictures
        super().__init__(name, "array", len(pictures), start_frame, as_fps(fps))

    def _load(self, index: int) -> NDArray[np.uint8]:
        return picture_to_rgb(self._pictures[index])

    def _name_of(self, index: int) -> str:
        return f"picture-{index:06d}"


def as_fps(fps: Fraction | float | None) -> Fraction | None:
    """Turn a frame rate into a fraction.

    Raises:
        SourceError: the rate is not a positive, finite number.
    """
    if fps is None:
        return None
    if not 0 < fps < float("inf"):
        raise SourceError(f"the frame rate is {fps}; expected a positive number")
    return Fraction(fps).limit_denominator(100_000)


def _natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key: digits by value, numbers before text, ties by the text itself."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts]
