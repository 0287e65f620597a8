"""Pushed frames as bytes and back."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskstream.core.errors import ImageError, InputError
from maskstream.pipeline.api.frame_codec import (
    CODINGS,
    Coding,
    decode_frame,
    encode_frame,
    wrap_picture,
)

NOISE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


@pytest.mark.parametrize("coding", ["zlib", "png"])
def test_lossless(coding: Coding) -> None:
    for image in (NOISE, NOISE[:1, :1], NOISE[::2, ::-1]):
        again = decode_frame(encode_frame(image, coding))
        assert again.dtype == np.uint8
        np.testing.assert_array_equal(again, image)
    assert not again.flags.writeable


def test_jpeg_is_close_and_small() -> None:
    y, x = np.mgrid[:120, :160]
    image = np.stack([x, y, (x + y) // 2], axis=2).astype(np.uint8)
    blob = encode_frame(image, "jpeg")
    assert len(blob) < image.size / 5
    assert np.abs(decode_frame(blob).astype(int) - image).max() <= 8


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
def test_pictures_in_bytes_are_passed_on(name: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, name)
    blob = wrap_picture(buffer.getvalue())
    assert blob.endswith(buffer.getvalue())
    with Image.open(buffer) as picture:
        np.testing.assert_array_equal(decode_frame(blob), np.asarray(picture.convert("RGB")))


def test_grey_and_pil_pictures_are_taken() -> None:
    grey = NOISE[:, :, 0]
    np.testing.assert_array_equal(decode_frame(encode_frame(grey))[:, :, 2], grey)
    np.testing.assert_array_equal(decode_frame(encode_frame(Image.fromarray(NOISE))), NOISE)


def test_what_is_no_picture_is_refused() -> None:
    for wrong in (np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.int32)):
        with pytest.raises(ImageError):
            encode_frame(wrong)
    with pytest.raises(InputError, match="expected one of zlib, png, jpeg"):
        encode_frame(NOISE, "gif")  # type: ignore[arg-type]
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "GIF")
    for data in (b"", b"\xff\xd8\xff", buffer.getvalue()):
        with pytest.raises(ImageError, match="JPEG or PNG"):
            wrap_picture(data)


def header(number: int, height: int, width: int) -> bytes:
    return struct.pack(">4sBII", b"MSF1", number, height, width)


@pytest.mark.parametrize(
    ("blob", "complaint"),
    [
        (b"", "0 bytes are not a frame"),
        (b"\x89PNG" + bytes(40), "are not a frame"),
        (header(9, 4, 4), "the coding 9"),
        (header(0, 2**31, 2**31), "1 to 67,108,864 are possible"),
        (header(0, 0, 4), "are possible"),
        (header(0, 4, 4) + b"garbage", "damaged"),
        (header(0, 4, 4) + zlib.compress(bytes(47)), "does not hold its 48 values"),
        (header(0, 4, 4) + zlib.compress(bytes(10**6)), "does not hold its 48 values"),
        (header(1, 4, 4) + b"garbage", "not a png picture"),
        (header(2, 4, 4) + encode_frame(NOISE, "png")[13:], "not a jpeg picture"),
    ],
)
def test_damaged_blobs_are_refused(blob: bytes, complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint):
        decode_frame(blob)


def test_a_picture_too_large_for_any_frame_is_refused_unread() -> None:
    row = zlib.compress(bytes(10))
    chunk = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)

    def part(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    data = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", chunk) + part(b"IDAT", row) + part(b"IEND", b"")
    with pytest.raises(ImageError):
        wrap_picture(data)


@settings(max_examples=200)
@given(st.binary(max_size=60), st.sampled_from(range(len(CODINGS))), st.integers(0, 60))
def test_any_damage_is_an_image_error_or_a_picture(junk: bytes, number: int, place: int) -> None:
    good = bytearray(encode_frame(NOISE[:5, :5], CODINGS[number]))
    good[place : place + len(junk)] = junk
    with contextlib.suppress(ImageError):
        assert decode_frame(bytes(good)).shape[2] == 3
