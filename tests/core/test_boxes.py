"""Boxes: known values, and what corners say of centre and size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskstream.core.boxes import cxcywh_to_xyxy

# One box, its left edge at 10, top at 20, 4 wide and 8 high.
XYXY = torch.tensor([10.0, 20.0, 14.0, 28.0])
CXCYWH = torch.tensor([12.0, 24.0, 4.0, 8.0])


@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (0,), (2, 0, 5)])
def test_any_number_of_leading_axes(shape: tuple[int, ...]) -> None:
    converted = cxcywh_to_xyxy(CXCYWH.expand(*shape, 4))
    assert converted.shape == (*shape, 4)
    assert torch.equal(converted, XYXY.expand(*shape, 4))


def test_input_stays_and_dtype_too() -> None:
    given_box = CXCYWH.double()
    converted = cxcywh_to_xyxy(given_box)
    assert converted.dtype == torch.float64
    assert torch.equal(given_box, CXCYWH.double())


@given(st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_corners_lie_around_the_centre(numbers: list[int]) -> None:
    """Halves of integers are exact, so nothing is lost, whatever the order of the corners."""
    cx, cy, width, height = numbers
    x0, y0, x1, y1 = cxcywh_to_xyxy(torch.tensor(numbers, dtype=torch.float32)).tolist()
    assert (x1 - x0, y1 - y0) == (width, height)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (cx, cy)
