"""Masks as the run-length code of Label Studio's brush, read by Label Studio's own decoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from label_studio_converter.brush import decode_rle
from numpy.typing import NDArray

from maskstream.core.brush_rle import encode_brush


def decoded(code: list[int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    channels = np.asarray(decode_rle(code)).reshape(*shape, 4)
    assert (channels == channels[..., :1]).all()
    assert set(np.unique(channels)) <= {0, 255}
    inside: NDArray[np.bool_] = channels[..., 3] > 0
    return inside


@settings(max_examples=60)
@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_comes_back(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(decoded(encode_brush(mask), mask.shape), mask)


@pytest.mark.parametrize("inside", [False, True])
def test_runs_longer_than_a_length_can_say(inside: bool) -> None:
    mask = np.full((150, 200), inside)  # 120,000 bytes, and a length has 16 bits
    mask[75, 100] = not inside
    code = encode_brush(mask)
    assert np.array_equal(decoded(code, mask.shape), mask)
    assert len(code) < 40
    assert all(isinstance(value, int) and 0 <= value < 256 for value in code)
