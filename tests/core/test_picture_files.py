"""Picture files: only listed formats, and no file may take all memory or time."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskstream.core.errors import ImageError
from maskstream.core.picture_files import FORMATS, SUFFIXES, PictureFile

SQUARE = Image.new("RGB", (8, 6), "red")


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"SUN"}))  # Pillow does not write SUN
def test_listed_formats_are_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(saved(SQUARE, form))
    with PictureFile(path) as picture:
        assert (picture.width, picture.height, picture.num_frames()) == (8, 6, 1)
        image = picture.rgb()
    assert image.shape == (6, 8, 3)
    assert np.abs(image.astype(int) - [255, 0, 0]).max() < 10


def test_every_suffix_that_pillow_knows_for_them_is_known() -> None:
    Image.init()
    known = {suffix for suffix, form in Image.EXTENSION.items() if form in FORMATS}
    assert known <= SUFFIXES
    assert ".mpo" in SUFFIXES
    assert ".eps" not in SUFFIXES


def test_a_picture_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow goes by what is in a file, and gives PostScript to Ghostscript."""
    ran = tmp_path / "ran"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    path = tmp_path / "x.png"
    path.write_bytes(saved(SQUARE, "EPS"))
    with Image.open(path) as picture, pytest.raises(OSError, match=r"."):
        picture.load()
    assert ran.exists()
    ran.unlink()
    with pytest.raises(ImageError, match=r"known are AVIF, BMP"):
        PictureFile(path)
    assert not ran.exists()


@pytest.mark.parametrize("data", [b"8BPS" + bytes(40), b"", b"x"])
def test_anything_else_is_no_picture(data: bytes) -> None:
    with pytest.raises(ImageError, match="not a picture that can be read"):
        PictureFile(data)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8193, 8192), (30000, 30000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="pixels"):
        PictureFile(png_header(*size))


def test_a_later_frame_may_not_be_too_large_either() -> None:
    data = bytearray(saved(SQUARE, "TIFF", save_all=True, append_images=[SQUARE]))
    with PictureFile(bytes(data)) as picture:
        assert picture.num_frames() == 2
    # The second page's tags ImageWidth and ImageLength (TIFF 6.0, section 8).
    for tag in (256, 257):
        place = data.rindex(struct.pack("<HHI", tag, 4, 1))
        data[place + 8 : place + 12] = struct.pack("<I", 50_000)
    with PictureFile(bytes(data)) as picture:
        assert picture.rgb(0).shape == (6, 8, 3)
        with pytest.raises(ImageError, match="pixels"):
            picture.rgb(1)


def test_a_picture_that_takes_too_long_is_given_up() -> None:
    """A progressive JPEG may have any number of scans, each over all pixels."""
    data = saved(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    slow = data[:-2] + last_scan * 5000 + data[-2:]
    with PictureFile(data) as picture:
        assert picture.rgb().shape == (2000, 2000, 3)
    with (
        PictureFile(slow, limit_s=0.2) as picture,
        pytest.raises(ImageError, match=r"takes more than 0\.2 s of computing"),
    ):
        picture.rgb()


def test_a_frame_behind_very_many_others_is_given_up() -> None:
    frames = [Image.new("L", (400, 400), shade) for shade in range(1, 100)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames)
    with PictureFile(data) as picture:
        picture._file._limit_s = 0.0
        with pytest.raises(ImageError, match="of computing"):
            picture.decoded(90)


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"SUN", "SGI", "TGA", "PCX"}))
def test_a_picture_cut_short_is_an_error(form: str) -> None:
    noise = Image.effect_noise((64, 48), 90).convert("RGB")
    data = saved(noise, form)
    with pytest.raises(ImageError), PictureFile(data[: len(data) // 2]) as picture:
        picture.rgb()


def test_further_views_of_a_photograph_are_no_frames() -> None:
    data = saved(SQUARE, "MPO", save_all=True, append_images=[SQUARE])
    with PictureFile(data) as picture:
        assert (picture.format, picture.num_frames()) == ("MPO", 1)
