"""Frames as bytes, for their way through the store.

A blob is ``MSF1``, one byte for the coding, height and width as 32-bit big-endian numbers, and the
encoded picture. ``zlib`` and ``png`` give back every value; JPEG is about ten times smaller.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskstream.core.errors import ImageError, InputError
from maskstream.core.limits import MAX_PIXELS
from maskstream.core.picture_files import PictureFile
from maskstream.core.pictures import Picture, picture_to_rgb

Coding = Literal["zlib", "png", "jpeg"]
CODINGS: tuple[Coding, ...] = get_args(Coding)

_MAGIC = b"MSF1"
_HEADER = struct.Struct(">4sBII")
_ZLIB_LEVEL = 1
_JPEG_QUALITY = 95
_FORMATS = {"png": "PNG", "jpeg": "JPEG"}


def encode_frame(picture: Picture, coding: Coding = "zlib") -> bytes:
    """Encode a picture.

    Args:
        picture: see ``maskstream.core.pictures.picture_to_rgb``.
        coding: ``zlib`` and ``png`` lose nothing, ``jpeg`` is small.

    Raises:
        ImageError: this is no picture, or it has more than 2²⁶ pixels.
        InputError: the coding is unknown.
    """
    if coding not in CODINGS:
        raise InputError(f"coding is {coding!r:.40}; expected one of {', '.join(CODINGS)}")
    if isinstance(picture, Image.Image):
        _check_size(picture.height, picture.width)
    image = picture_to_rgb(picture)
    height, width = image.shape[:2]
    _check_size(height, width)
    if coding == "zlib":
        body = zlib.compress(image.tobytes(), _ZLIB_LEVEL)
    else:
        buffer = io.BytesIO()
        options = {"quality": _JPEG_QUALITY} if coding == "jpeg" else {"compress_level": 1}
        Image.fromarray(image).save(buffer, _FORMATS[coding], **options)
        body = buffer.getvalue()
    return _HEADER.pack(_MAGIC, CODINGS.index(coding), height, width) + body


def wrap_picture(data: bytes) -> bytes:
    """A blob around the bytes of a JPEG or PNG picture; its pixels are not decoded.

    Raises:
        ImageError: the bytes are neither, or the picture has more than 2²⁶ pixels.
    """
    try:
        with PictureFile(data, tuple(_FORMATS.values())) as picture:
            width, height = picture.width, picture.height
            coding: Coding = "png" if picture.format == "PNG" else "jpeg"
    except ImageError as error:
        raise ImageError(
            f"a frame in bytes is a JPEG or PNG picture, but of these {len(data)} bytes: {error}"
        ) from error
    return _HEADER.pack(_MAGIC, CODINGS.index(coding), height, width) + data


def decode_frame(blob: bytes) -> NDArray[np.uint8]:
    """Undo ``encode_frame``.

    Returns:
        (H, W, 3) uint8 RGB, read-only.

    Raises:
        ImageError: the bytes are no such blob, or a damaged one.
    """
    if len(blob) < _HEADER.size or blob[: len(_MAGIC)] != _MAGIC:
        raise ImageError(f"these {len(blob)} bytes are not a frame that maskstream has encoded")
    _, number, height, width = _HEADER.unpack_from(blob)
    _check_size(height, width)
    body = blob[_HEADER.size :]
    if number >= len(CODINGS):
        raise ImageError(f"a frame has the coding {number}, which this version does not know")
    coding = CODINGS[number]
    image = _inflate(body, height, width) if coding == "zlib" else _decode_picture(body, coding)
    image.flags.writeable = False
    return image


def _inflate(body: bytes, height: int, width: int) -> NDArray[np.uint8]:
    size = height * width * 3
    inflater = zlib.decompressobj()
    try:
        # A forged blob may unpack to any size: stop behind the size that the header gives.
        pixels = inflater.decompress(body, size + 1)
    except zlib.error as error:
        raise ImageError(f"a frame is damaged: {error}") from error
    if len(pixels) != size or not inflater.eof:
        raise ImageError(f"a frame of {width}×{height} does not hold its {size} values")
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _decode_picture(body: bytes, coding: Coding) -> NDArray[np.uint8]:
    try:
        with PictureFile(body, [_FORMATS[coding]]) as picture:
            return picture.rgb()
    except ImageError as error:
        raise ImageError(f"a frame is not a {coding} picture, or damaged: {error}") from error


def _check_size(height: int, width: int) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        raise ImageError(f"a frame of {width}×{height} pixels; 1 to {MAX_PIXELS:,} are possible")
