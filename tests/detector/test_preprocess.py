"""Pictures of every kind become the same tensor, or a clear error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from maskstream.core.errors import ImageError
from maskstream.detector.preprocess import picture_size, to_pixels, to_rgb


def picture(height: int = 37, width: int = 53) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_kinds_of_one_picture_agree() -> None:
    array = picture()
    kinds: list[Any] = [
        array,
        Image.fromarray(array),
        torch.from_numpy(array).permute(2, 0, 1),
        array.astype(np.float32) / 255,
        torch.from_numpy(array).permute(2, 0, 1).float() / 255,
    ]
    first = to_pixels([kinds[0]], 28)
    assert first.shape == (1, 3, 28, 28)
    for kind in kinds[1:]:
        torch.testing.assert_close(to_pixels([kind], 28), first)


def test_resizing_agrees_with_pillow() -> None:
    array = picture(90, 140)
    expected = np.array(Image.fromarray(array).resize((56, 56), Image.Resampling.BILINEAR))
    pixels = to_pixels([array], 56)
    ours = ((pixels[0].permute(1, 2, 0) + 1) * 127.5).numpy()
    assert np.abs(ours - expected).max() <= 1.01


def test_range_is_minus_one_to_one() -> None:
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    pixels = to_pixels([black, white], 14)
    assert torch.equal(pixels[0], torch.full((3, 14, 14), -1.0))
    assert torch.equal(pixels[1], torch.full((3, 14, 14), 1.0))


def test_batch_of_different_sizes() -> None:
    batch = to_pixels([picture(10, 20), picture(31, 7)], 28)
    assert batch.shape == (2, 3, 28, 28)
    torch.testing.assert_close(batch[1:], to_pixels([picture(31, 7)], 28))


def test_one_pixel() -> None:
    pixels = to_pixels([np.full((1, 1, 3), 255, np.uint8)], 14)
    assert torch.equal(pixels, torch.ones(1, 3, 14, 14))


@pytest.mark.parametrize(
    "array",
    [
        picture()[:, :, 0],
        picture()[:, :, :1],
        picture()[:, :, 0].astype(np.uint16) * 257,
        np.dstack((picture()[:, :, [0, 0, 0]], np.full((37, 53), 255, np.uint8))),
        picture()[:, :, 0].astype(np.float64) / 255,
    ],
    ids=["grey", "grey channel", "16 bits", "opaque alpha", "float grey"],
)
def test_grey_deep_and_opaque_arrays_are_the_grey_picture(array: NDArray[Any]) -> None:
    expected = picture()[:, :, [0, 0, 0]]
    assert np.array_equal(to_rgb(array).permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_opaque_pil_modes_are_converted(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    expected = np.array(image.convert("RGB"))
    assert np.array_equal(to_rgb(image).permute(1, 2, 0).numpy(), expected)


def test_exif_rotation_is_applied() -> None:
    image = Image.fromarray(picture(10, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert picture_size(image) == (20, 10)
    assert to_rgb(image).shape == (3, 20, 10)


def test_read_only_and_strided_arrays() -> None:
    array = picture()
    array.flags.writeable = False
    assert np.array_equal(to_rgb(array).permute(1, 2, 0).numpy(), array)
    mirrored = picture()[:, ::-1]
    assert np.array_equal(to_rgb(mirrored).permute(1, 2, 0).numpy(), mirrored)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((8, 8, 2), np.uint8), r"not \(8, 8, 2\)"),
        (np.zeros(8, np.uint8), r"not \(8,\)"),
        (np.zeros((2, 8, 8), np.uint8), r"not \(2, 8, 8\)"),
        (np.zeros((8, 8, 3), np.int32), "int32"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (np.full((8, 8, 3), np.nan, np.float32), "NaN"),
        (np.full((8, 8, 3), 2.0, np.float32), r"\[0, 1\]"),
        (torch.zeros(8, 8, 4), r"\(3, H, W\)"),
        (torch.zeros(1, 3, 8, 8), r"\(3, H, W\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int16), "int16"),
        (torch.zeros(3, 0, 8), "pixels in it"),
        (torch.full((3, 8, 8), float("inf")), "infinite"),
        (Image.new("F", (8, 8)), "floating-point"),
        ("photo.jpg", "str"),
        (None, "NoneType"),
    ],
)
def test_unusable_pictures_are_named(image: Any, complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint):
        to_pixels([image], 14)


def test_no_picture() -> None:
    with pytest.raises(ImageError, match="at least one"):
        to_pixels([], 14)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_may_come_first_or_last(dtype: type) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    given = picture if dtype is np.uint8 else (picture / np.float32(255)).astype(np.float32)
    first = np.ascontiguousarray(np.moveaxis(given, -1, 0))
    expected = to_rgb(given)
    assert picture_size(given) == (6, 9)
    for other in (first, torch.from_numpy(first), torch.from_numpy(given)):
        assert torch.equal(to_rgb(other), expected)
        assert picture_size(other) == (6, 9)
    # Where both readings are possible, the channels come last.
    assert picture_size(np.zeros((3, 9, 3), np.uint8)) == (3, 9)
