"""What is told about the mask of an object that a user has drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.commands import AddObject
from maskstream.pipeline.api.doubts import doubts_of
from maskstream.pipeline.api.results import FrameResult
from tests.pipeline.frame_results import make_result

SIZE = (100, 200)
CLICK = {"points": [(0.5, 0.5)], "point_labels": [1]}


def rectangle(y: slice, x: slice) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, np.bool_)
    mask[y, x] = True
    return mask


def shown(mask: NDArray[np.bool_]) -> FrameResult:
    result = make_result(0, [3, 7], size=SIZE)
    return replace(result, masks=np.stack([np.ones(SIZE, np.bool_), mask]))


@pytest.mark.parametrize(
    ("prompt", "mask", "told"),
    [
        ({"box": (0.1, 0.2, 0.2, 0.3)}, rectangle(slice(20, 50), slice(20, 60)), []),
        ({"box": (0.1, 0.2, 0.2, 0.3)}, rectangle(slice(15, 55), slice(10, 70)), []),
        (
            {"box": (0.1, 0.2, 0.2, 0.3)},
            rectangle(slice(20, 50), slice(20, 200)),
            ["78 % of the mask lies outside of its box"],
        ),
        (
            {"box": (0.0, 0.0, 0.01, 0.01), **CLICK},
            rectangle(slice(50, 60), slice(50, 60)),
            ["100 % of the mask lies outside of its box"],
        ),
        ({"box": (0.0, 0.0, 1.0, 1.0)}, rectangle(slice(None), slice(None)), []),
        (CLICK, rectangle(slice(40, 60), slice(80, 120)), []),
        (CLICK, rectangle(slice(None), slice(0, 180)), ["the mask covers 90 % of the frame"]),
        (
            {"points": [(0.5, 0.5), (0.1, 0.1)], "point_labels": [1, 0]},
            rectangle(slice(10, 100), slice(None)),
            ["the mask covers 90 % of the frame"],
        ),
        (
            {"points": [(0.1, 0.5), (0.9, 0.5)], "point_labels": [1, 1]},
            rectangle(slice(None), slice(None)),
            [],
        ),
        (
            {"mask": dict(encode_mask(rectangle(slice(None), slice(None))))},
            rectangle(slice(None), slice(None)),
            [],
        ),
        (CLICK, rectangle(slice(0), slice(0)), ["the mask is empty"]),
    ],
)
def test_masks_that_have_little_to_do_with_the_prompt(
    prompt: dict[str, Any], mask: NDArray[np.bool_], told: list[str]
) -> None:
    assert doubts_of(AddObject(**prompt), shown(mask), 7) == told


def test_an_object_that_is_not_shown() -> None:
    assert doubts_of(AddObject(**CLICK), FrameResult.empty(0, None, SIZE), 7) == [
        "the mask is empty"
    ]
