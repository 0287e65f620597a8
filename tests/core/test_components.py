"""Connected components, both ways of finding them, against scipy and a flood fill."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from maskstream.core.components import (
    _components_by_pooling,
    _small_by_pooling,
    connected_components,
    small_component_pixels,
    small_components,
)

# The second of each pair serves other devices; there is nothing in it that the CPU cannot do.
WAYS = [connected_components, _components_by_pooling]
SMALL_WAYS = [small_components, _small_by_pooling]

Labelling = Callable[[Tensor], tuple[Tensor, Tensor]]
Marking = Callable[[Tensor, Tensor, int], Tensor]

batches = arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9))


def scipy_labels(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels and, for each pixel, the area of its component."""
    labels, num_labels = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=num_labels + 1)
    return labels, np.where(mask, areas[labels], 0)


def flood(mask: list[list[bool]], start: tuple[int, int]) -> set[tuple[int, int]]:
    """The component of a pixel, by definition."""
    found, border = {start}, [start]
    while border:
        y, x = border.pop()
        for row in range(max(y - 1, 0), min(y + 2, len(mask))):
            for column in range(max(x - 1, 0), min(x + 2, len(mask[0]))):
                if mask[row][column] and (row, column) not in found:
                    found.add((row, column))
                    border.append((row, column))
    return found


def check_labels(masks: NDArray[np.bool_], labels: Tensor, areas: Tensor) -> None:
    assert labels.dtype == areas.dtype == torch.int64
    assert labels.shape == areas.shape == masks.shape
    taken: set[int] = set()
    for mask, ours, our_areas in zip(masks, labels.numpy(), areas.numpy(), strict=True):
        theirs, their_areas = scipy_labels(mask)
        assert (our_areas == their_areas).all()
        pairs = set(zip(theirs.ravel().tolist(), ours.ravel().tolist(), strict=True))
        # One label of ours for each of theirs and the other way round, 0 for 0.
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
        assert all((a == 0) == (b == 0) for a, b in pairs)
        mine = {b for _, b in pairs} - {0}
        assert min(mine, default=1) > 0
        assert not mine & taken, "two masks share a label"
        taken |= mine


def picture(*rows: str) -> NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in row] for row in rows])


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40)
@given(masks=batches)
def test_small_masks_as_scipy_has_them(way: Labelling, masks: NDArray[np.bool_]) -> None:
    check_labels(masks, *way(torch.from_numpy(masks)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("density", [0.2, 0.4, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(3, 41, 57), (1, 64, 33), (2, 1, 50), (2, 50, 1)])
def test_noise_as_scipy_has_it(way: Labelling, shape: tuple[int, int, int], density: float) -> None:
    masks = np.random.default_rng(1).random(shape) < density
    check_labels(masks, *way(torch.from_numpy(masks)))


@pytest.mark.parametrize("way", WAYS)
def test_a_component_is_what_a_flood_fill_reaches(way: Labelling) -> None:
    mask = np.random.default_rng(2).random((12, 15)) < 0.35
    labels, areas = way(torch.from_numpy(mask[None]))
    for y, x in zip(*np.nonzero(mask), strict=True):
        reached = flood(mask.tolist(), (int(y), int(x)))
        same = (labels[0] == labels[0, y, x]).nonzero().tolist()
        assert {(row, column) for row, column in same} == reached
        assert int(areas[0, y, x]) == len(reached)


@pytest.mark.parametrize("way", WAYS)
def test_long_ways_round(way: Labelling) -> None:
    """A snake and a spiral: the ends of a component are far apart along it."""
    snake = np.ones((21, 20), dtype=np.bool_)
    snake[1::4, :-1] = False
    snake[3::4, 1:] = False
    spiral = np.zeros((21, 20), dtype=np.bool_)
    y, x, dy, dx = 0, 0, 0, 1
    spiral[0, 0] = True
    for _ in range(60):
        while 0 <= y + dy < 21 and 0 <= x + dx < 20:
            two_on = (y + 2 * dy, x + 2 * dx)
            if 0 <= two_on[0] < 21 and 0 <= two_on[1] < 20 and spiral[two_on]:
                break
            y, x = y + dy, x + dx
            spiral[y, x] = True
        dy, dx = dx, -dy
    masks = np.stack([snake, spiral])
    labels, areas = way(torch.from_numpy(masks))
    check_labels(masks, labels, areas)
    assert int(areas[0].max()) == snake.sum()
    assert int(areas[1].max()) == spiral.sum()


@pytest.mark.parametrize("way", WAYS)
def test_corners_join_but_neither_row_ends_nor_masks_do(way: Labelling) -> None:
    masks = np.stack(
        [
            picture("#...", ".#..", "..#.", "...#"),
            picture("...#", "#...", "...#", "#..."),
            # Starts right below where the mask before ends.
            picture("#...", "....", "....", "####"),
            picture("####", "....", "....", "####"),
        ]
    )
    labels, areas = way(torch.from_numpy(masks))
    check_labels(masks, labels, areas)
    assert areas[0].diagonal().tolist() == [4, 4, 4, 4]
    assert areas[1].max() == 1
    assert areas[3].max() == 4


@pytest.mark.parametrize("way", WAYS)
def test_one_pixel_none_and_all(way: Labelling) -> None:
    masks = np.zeros((3, 5, 7), dtype=np.bool_)
    masks[0, 4, 6] = True
    masks[2] = True
    labels, areas = way(torch.from_numpy(masks))
    check_labels(masks, labels, areas)
    assert areas[0].sum() == 1
    assert not labels[1].any()
    assert (areas[2] == 35).all()


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
def test_nothing_to_label(shape: tuple[int, int, int]) -> None:
    masks = torch.zeros(shape, dtype=torch.bool)
    labels, areas = connected_components(masks)
    assert labels.shape == areas.shape == shape
    assert small_components(masks, torch.full((shape[0],), 3), 3).shape == shape


def test_masks_that_are_not_contiguous() -> None:
    masks = np.random.default_rng(3).random((2, 9, 10)) < 0.5
    turned = torch.from_numpy(masks).mT.contiguous().mT
    assert not turned.is_contiguous()
    check_labels(masks, *connected_components(turned))
    small = small_components(turned, torch.tensor([3, 3]), 3)
    assert (small.numpy() == expected_small(masks, [3, 3])).all()


def expected_small(masks: NDArray[np.bool_], max_areas: list[int]) -> NDArray[np.bool_]:
    areas = [scipy_labels(mask)[1] for mask in masks]
    return np.stack(
        [mask & (area <= most) for mask, area, most in zip(masks, areas, max_areas, strict=True)]
    )


@pytest.mark.parametrize("way", SMALL_WAYS)
@settings(max_examples=40)
@given(masks=batches, data=st.data())
def test_small_ones_of_small_masks(
    way: Marking, masks: NDArray[np.bool_], data: st.DataObject
) -> None:
    limits = data.draw(st.lists(st.integers(0, 9), min_size=len(masks), max_size=len(masks)))
    bound = max(limits) + data.draw(st.integers(0, 3))
    small = way(torch.from_numpy(masks), torch.tensor(limits), bound)
    assert small.dtype == torch.bool
    assert (small.numpy() == expected_small(masks, limits)).all()


@pytest.mark.parametrize("way", SMALL_WAYS)
@pytest.mark.parametrize("bound", [1, 7, 16])
def test_small_ones_of_noise(way: Marking, bound: int) -> None:
    masks = (
        np.random.default_rng(bound).random((4, 37, 52))
        < np.array([0.1, 0.3, 0.4, 0.9])[:, None, None]
    )
    limits = [bound, max(bound - 1, 0), bound // 2, bound]
    small = way(torch.from_numpy(masks), torch.tensor(limits), bound).numpy()
    expected = expected_small(masks, limits)
    assert expected.any()
    assert not (expected == masks).all()
    assert (small == expected).all()


@pytest.mark.parametrize("way", SMALL_WAYS)
def test_a_component_of_exactly_the_limit_is_small_and_one_more_is_not(way: Marking) -> None:
    """Straight ones reach as far as their area allows: the hardest for spreading labels."""
    masks = torch.zeros(2, 3, 20, dtype=torch.bool)
    masks[0, 1, 2:10] = True
    masks[1, 1, 2:11] = True
    small = way(masks, torch.tensor([8, 8]), 8)
    assert torch.equal(small[0], masks[0])
    assert not small[1].any()


@pytest.mark.parametrize("way", SMALL_WAYS)
def test_no_component_is_as_small_as_0(way: Marking) -> None:
    assert not way(torch.ones(1, 3, 3, dtype=torch.bool), torch.tensor([0]), 0).any()


def test_each_small_pixel_is_named_once() -> None:
    masks = np.random.default_rng(5).random((3, 20, 31)) < 0.3
    pixels = small_component_pixels(masks, np.array([4, 0, 2]))
    assert len(set(pixels.tolist())) == len(pixels)
    named = np.zeros(masks.size, dtype=np.bool_)
    named[pixels] = True
    assert (named.reshape(masks.shape) == expected_small(masks, [4, 0, 2])).all()


def test_masks_too_large_for_float_labels_are_refused() -> None:
    """Expanded, so that nothing of that size is made."""
    masks = torch.zeros(1, 1, 1, dtype=torch.bool).expand(1, 4096, 4096)
    with pytest.raises(ValueError, match="4096 x 4096"):
        _components_by_pooling(masks)
