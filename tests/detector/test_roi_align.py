from __future__ import annotations

import pytest
import torch

from maskstream.detector.roi_align import roi_align
from tests.support import roi_align_by_definition


def ramp(height: int = 8, width: int = 8) -> torch.Tensor:
    """A map whose value is 10 y + x, which bilinear samples reproduce exactly."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (10.0 * y + x)[None, None]


def pool(features: torch.Tensor, box: list[float], bins: int) -> torch.Tensor:
    return roi_align(features, torch.tensor([box]), torch.zeros(1, dtype=torch.long), bins)[0, 0]


def test_bins_average_their_samples() -> None:
    # Two bins of two samples on each axis: 0.5 and 1.5 average to 1, 2.5 and 3.5 to 3.
    expected = torch.tensor([[11.0, 13.0], [31.0, 33.0]])
    torch.testing.assert_close(pool(ramp(), [0, 0, 4, 4], 2), expected)


def test_axes_are_not_swapped() -> None:
    # x: one bin over [1, 3), samples 1.5 and 2.5; y: over [4, 7), samples 4.5, 5.5 and 6.5.
    torch.testing.assert_close(pool(ramp(), [1, 4, 3, 7], 1), torch.tensor([[57.0]]))


def test_box_below_one_cell_counts_as_one_cell() -> None:
    # From (2.2, 3.4), one cell wide and high: its only sample is at (2.7, 3.9).
    torch.testing.assert_close(pool(ramp(), [2.2, 3.4, 2.3, 3.4], 1), torch.tensor([[41.7]]))


def test_outside_counts_as_zero_but_for_the_last_cell() -> None:
    # Samples at x = -2.5, -1.5 (zero), -0.5 (taken at 0) and 0.5.
    columns = torch.arange(4.0).expand(1, 1, 4, 4)
    torch.testing.assert_close(pool(columns, [-3, 0, 1, 4], 1), torch.tensor([[0.125]]))
    torch.testing.assert_close(
        pool(torch.ones(1, 1, 4, 4), [-3, 0, 1, 4], 1), torch.tensor([[0.5]])
    )
    assert pool(torch.ones(1, 1, 4, 4), [6, 0, 9, 4], 2).abs().max() == 0


@pytest.mark.parametrize(("height", "width", "bins"), [(9, 5, 3), (12, 12, 7), (3, 8, 2)])
def test_against_the_definition(height: int, width: int, bins: int) -> None:
    features = torch.randn(2, 3, height, width)
    low = torch.rand(6, 2) * torch.tensor([width, height]) * 1.3 - 1.5
    size = torch.rand(6, 2) * torch.tensor([width, height]) * 0.9
    boxes = torch.cat((low, low + size), dim=1)
    index = torch.tensor([0, 0, 0, 0, 1, 1])
    expected = roi_align_by_definition(features, [boxes[:4], boxes[4:]], bins)
    torch.testing.assert_close(roi_align(features, boxes, index, bins), expected)


def test_no_boxes() -> None:
    none = roi_align(ramp(), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 7)
    assert none.shape == (0, 1, 7, 7)


def test_half_precision_sums_in_float32() -> None:
    features = torch.randn(1, 2, 8, 8).bfloat16()
    box, index = torch.tensor([[1.0, 2.0, 7.0, 6.5]]), torch.zeros(1, dtype=torch.long)
    pooled = roi_align(features, box, index, 3)
    assert pooled.dtype == torch.bfloat16
    exact = roi_align(features.float(), box, index, 3)
    assert torch.equal(pooled, exact.bfloat16())
