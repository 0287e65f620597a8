"""Boxes: known values, and that conversions undo each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.boxes import cxcywh_to_xyxy, xywh_to_cxcywh, xyxy_to_cxcywh, xyxy_to_xywh

Conversion = Callable[[Tensor], Tensor]

# One box, its left edge at 10, top at 20, 4 wide and 8 high.
XYXY = torch.tensor([10.0, 20.0, 14.0, 28.0])
CXCYWH = torch.tensor([12.0, 24.0, 4.0, 8.0])
XYWH = torch.tensor([10.0, 20.0, 4.0, 8.0])

CASES = [
    (cxcywh_to_xyxy, CXCYWH, XYXY),
    (xyxy_to_cxcywh, XYXY, CXCYWH),
    (xywh_to_cxcywh, XYWH, CXCYWH),
    (xyxy_to_xywh, XYXY, XYWH),
]


@pytest.mark.parametrize(("convert", "box", "expected"), CASES)
def test_known_box(convert: Conversion, box: Tensor, expected: Tensor) -> None:
    assert torch.equal(convert(box), expected)


@pytest.mark.parametrize(("convert", "box", "expected"), CASES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (0,), (2, 0, 5)])
def test_any_number_of_leading_axes(
    convert: Conversion, box: Tensor, expected: Tensor, shape: tuple[int, ...]
) -> None:
    converted = convert(box.expand(*shape, 4))
    assert converted.shape == (*shape, 4)
    assert torch.equal(converted, expected.expand(*shape, 4))


@pytest.mark.parametrize(("convert", "box", "expected"), CASES)
def test_input_stays_and_dtype_too(convert: Conversion, box: Tensor, expected: Tensor) -> None:
    given_box = box.double()
    converted = convert(given_box)
    assert converted.dtype == torch.float64
    assert torch.equal(given_box, box.double())


@given(st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_conversions_undo_each_other(numbers: list[int]) -> None:
    """Halves of integers are exact, so nothing is lost, whatever the order of the corners."""
    box = torch.tensor(numbers, dtype=torch.float32)
    assert torch.equal(cxcywh_to_xyxy(xyxy_to_cxcywh(box)), box)
    assert torch.equal(xyxy_to_cxcywh(cxcywh_to_xyxy(box)), box)
    assert torch.equal(xywh_to_cxcywh(xyxy_to_xywh(box)), xyxy_to_cxcywh(box))
