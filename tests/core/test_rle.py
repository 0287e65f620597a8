"""Run-length codes equal those of pycocotools, whatever the mask."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from pycocotools import mask as reference

from maskstream.core.errors import InputError
from maskstream.core.rle import decode_mask, decode_masks, encode_mask, encode_masks, mask_box


def _reference_code(mask: NDArray[np.bool_]) -> dict[str, Any]:
    code = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode("ascii")}


@hypothesis.given(
    st_numpy.arrays(np.bool_, st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=9))
)
def test_any_small_mask(mask: NDArray[np.bool_]) -> None:
    code = encode_mask(mask)
    assert code == _reference_code(mask)
    assert np.array_equal(decode_mask(code), mask)


@pytest.mark.parametrize(
    "where",
    [
        np.s_[:, :],
        np.s_[0, 0],
        np.s_[-1, -1],
        np.s_[:, 5:9],
        np.s_[10:, 3],
        np.s_[:1, 1:],
        np.s_[7:70, 20:],
        np.s_[::2, ::3],
        np.s_[0:0, :],
    ],
)
def test_masks_that_touch_the_edges(where: Any) -> None:
    mask = np.zeros((97, 131), np.bool_)
    mask[where] = True
    assert encode_mask(mask) == _reference_code(mask)
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def test_circles_at_full_hd() -> None:
    y, x = np.mgrid[:1080, :1920]
    masks = np.stack([(y - 300) ** 2 + (x - cx) ** 2 < 90**2 for cx in (0, 700, 1919)])
    codes = encode_masks(masks)
    assert codes == [_reference_code(mask) for mask in masks]
    assert np.array_equal(decode_masks(codes, 1080, 1920), masks)


def test_a_list_of_runs_and_bytes_are_read_too() -> None:
    mask = np.zeros((4, 4), np.bool_)
    mask[1:3, 1:3] = True
    runs = {"size": [4, 4], "counts": [5, 2, 2, 2, 5]}
    assert np.array_equal(decode_mask(runs), mask)
    code = encode_mask(mask)
    assert np.array_equal(decode_mask({**code, "counts": code["counts"].encode()}), mask)


@pytest.mark.parametrize(
    "code",
    [
        {},
        {"size": [4, 4]},
        {"size": [4, 4], "counts": None},
        {"size": [4, 4], "counts": "\x00"},
        {"size": [4, 4], "counts": "zz~"},
        {"size": [4, 4], "counts": [17]},
        {"size": [4, 4], "counts": [3, -3, 16]},
        {"size": [4], "counts": "04"},
        {"size": [0, 4], "counts": ""},
        {"size": [-4, 4], "counts": "04"},
        {"size": [10**9, 10**9], "counts": "04"},
        {"size": ["4", "4"], "counts": "04"},
        {"size": "44", "counts": "04"},
    ],
)
def test_malformed_codes(code: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="run-length code"):
        decode_mask(code)


@hypothesis.given(st.text(max_size=20), st.integers(1, 9), st.integers(1, 9))
def test_any_text_is_decoded_or_refused(counts: str, height: int, width: int) -> None:
    try:
        mask = decode_mask({"size": [height, width], "counts": counts})
    except InputError:
        return
    assert mask.shape == (height, width)


def test_mask_box() -> None:
    mask = np.zeros((10, 20), np.bool_)
    assert mask_box(mask) is None
    mask[3, 4] = mask[7, 15] = True
    assert mask_box(mask) == (4, 3, 16, 8)
