"""Opens picture files. Everything that reads one does so here.

Pillow knows formats that start other programs (EPS starts Ghostscript) or look for other files, and
it goes by what a file holds, not by its name. So the formats that may be read are listed, and what
a file may cost is limited: its pixels before any of them is decoded, and the processor time.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maskstream.core.closing import Closing
from maskstream.core.errors import ImageError
from maskstream.core.limits import MAX_PIXELS
from maskstream.core.pictures import picture_to_rgb

FORMATS: dict[str, tuple[str, ...]] = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "PCX": (".pcx",),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The formats that are read, as Pillow calls them, and the suffixes of their files."""

SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

# In these, further pictures are views, thumbnails or gain maps of the first one.
_ONE_PICTURE = frozenset({"JPEG", "MPO"})  # a JPEG with others behind it is an MPO

# A picture of 2²⁶ pixels takes a few seconds. A hostile file may take hours: a JPEG of 10 MB may
# have 80,000 scans, each over all of its pixels.
_LIMIT_S = 30.0
# Pillow decodes piece by piece, and the time is looked at between two of them.
_PIECE_BYTES = 4096

_FAULTS = (
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # raised where warnings are errors
    UserWarning,  # so is this
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,  # of AVIF
)


class PictureFile(Closing):
    """A picture file, open. Its size is known and is within the limit; no pixel is decoded yet.

    Not for several threads at once: all frames are decoded into the same picture.
    """

    def __init__(
        self,
        file: Path | bytes,
        formats: Sequence[str] = tuple(FORMATS),
        *,
        limit_s: float = _LIMIT_S,
    ) -> None:
        """Read the header.

        Args:
            file: path of a file, or what it holds.
            formats: some of ``FORMATS``.
            limit_s: the processor time in seconds that each frame may take.

        Raises:
            ImageError: the file is no picture of these formats, or has more than 2²⁶ pixels.
            OSError: the file cannot be opened.
        """
        Image.init()  # loads the plugins of all formats, once
        raw = io.BytesIO(file) if isinstance(file, bytes) else io.FileIO(file)
        self._file = _TimedFile(raw, limit_s)
        try:
            with _faults_as_errors(formats):
                self._picture = Image.open(self._file, formats=list(formats))
                _check_size(self._picture)
        except ImageError:
            self._file.close()
            raise
        self._picture.decodermaxblock = _PIECE_BYTES
        self.format = str(self._picture.format)
        self.width, self.height = self._picture.size

    def num_frames(self) -> int:
        """How many frames the file holds; of a photograph with a second view, 1.

        Raises:
            ImageError: it is damaged.
        """
        if self.format in _ONE_PICTURE:
            return 1
        with self._limited():
            return int(getattr(self._picture, "n_frames", 1))

    def decoded(self, index: int = 0) -> Image.Image:
        """Decode a frame. It is good until the next call.

        Going back may decode all frames before it once more.

        Raises:
            ImageError: it cannot be decoded, or takes too long.
        """
        with self._limited():
            return self._decode(index)

    def rgb(self, index: int = 0) -> NDArray[np.uint8]:
        """Decode a frame to (H, W, 3) uint8 RGB; see ``picture_to_rgb``.

        Raises:
            ImageError: it cannot be decoded, takes too long, or has no usable values.
        """
        with self._limited():
            return picture_to_rgb(self._decode(index))

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        self._picture.close()
        self._file.close()

    def _decode(self, index: int) -> Image.Image:
        if index or self._picture.tell():
            self._go_to(index)
        self._picture.load()
        return self._picture

    def _go_to(self, index: int) -> None:
        """Go frame by frame, so that the time is looked at; some formats decode what they pass."""
        if index < self._picture.tell():
            self._picture.seek(0)
        while self._picture.tell() < index:
            self._file.check_time()
            self._picture.seek(self._picture.tell() + 1)
            _check_size(self._picture)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        self._file.start_time()
        with _faults_as_errors():
            yield


class _TimedFile(io.BufferedReader):
    """A file that can no longer be read once its thread has computed for too long."""

    def __init__(self, raw: io.RawIOBase | io.BytesIO, limit_s: float) -> None:
        super().__init__(raw)
        self._limit_s = limit_s
        self.start_time()

    def start_time(self) -> None:
        self._until_s = time.thread_time() + self._limit_s

    def check_time(self) -> None:
        if time.thread_time() > self._until_s:
            raise OSError(f"it takes more than {self._limit_s:g} s of computing")

    def read(self, size: int | None = -1, /) -> bytes:
        self.check_time()
        return super().read(size)


@contextmanager
def _faults_as_errors(formats: Sequence[str] | None = None) -> Iterator[None]:
    """What Pillow raises for a file that it cannot read, as ``ImageError``."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS if formats is None else formats)
        raise ImageError(f"it is not a picture that can be read; known are {known}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"it has more than {MAX_PIXELS:,} pixels") from error
    except _FAULTS as error:
        raise ImageError(f"it cannot be decoded: {error}") from error


def _check_size(picture: Image.Image) -> None:
    width, height = picture.size
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageError(f"it has {width}×{height} pixels; 1 to {MAX_PIXELS:,} are possible")
