"""Labels sit by an object's largest part."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskstream.core.rle import mask_box
from maskstream.pipeline.sinks.largest_part import largest_part_box


def found(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    box = mask_box(mask)
    assert box is not None
    return largest_part_box(mask, box)


def disc(size: tuple[int, int], centre: tuple[int, int], radius: int) -> NDArray[np.bool_]:
    y, x = np.ogrid[: size[0], : size[1]]
    inside: NDArray[np.bool_] = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return inside


@pytest.mark.parametrize("size", [(48, 80), (720, 1280), (2160, 3840)])
def test_specks_far_away_do_not_count(size: tuple[int, int]) -> None:
    height, width = size
    body = disc(size, (height // 2, width // 2), height // 5)
    mask = body.copy()
    mask[1, 1] = mask[height - 2, width - 2] = mask[2, width - 3] = True
    assert found(mask) == mask_box(body)


def test_of_several_parts_the_largest_counts() -> None:
    mask = np.zeros((300, 400), np.bool_)
    mask[10:60, 10:60] = True
    mask[200:280, 250:390] = True
    mask[100:104, :] = True
    assert found(mask) == (250, 200, 390, 280)


@pytest.mark.parametrize("step", [1, 3])
def test_one_part_is_exact_whatever_its_shape(step: int) -> None:
    spiral = np.zeros((48 * step, 48 * step), np.bool_)
    spiral[::8, :] = spiral[:, -1] = True
    spiral[4::8, 4:] = True
    assert found(np.kron(spiral[::step, ::step], np.ones((step, step), np.bool_))) is not None
    letter = np.zeros((90, 100), np.bool_)
    letter[7:80, 5:20] = letter[7:80, 75:93] = letter[60:80, 5:93] = True  # a U: joined at its foot
    assert found(letter) == (5, 7, 93, 80)


def test_a_line_that_no_sample_meets() -> None:
    mask = np.zeros((500, 500), np.bool_)
    mask[0, :] = mask[:, 0] = True
    assert found(mask) == (0, 0, 500, 500)


def test_parts_are_those_of_a_search_by_neighbours() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        mask = generator.random((20, 24)) < 0.4  # small enough that every pixel is a sample
        assert found(mask) in boxes_of_largest(mask)


def boxes_of_largest(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """The boxes of the largest parts, found pixel by pixel."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True))
    parts = []
    while left:
        part, waiting = [], [left.pop()]
        while waiting:
            y, x = waiting.pop()
            part.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting += near
        parts.append(part)
    size = max(map(len, parts))
    return [
        (min(x), min(y), max(x) + 1, max(y) + 1)
        for y, x in (zip(*part, strict=True) for part in parts if len(part) == size)
    ]
