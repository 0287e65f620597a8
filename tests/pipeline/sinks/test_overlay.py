"""Overlays: lasting colours, legible labels, nothing painted where nothing is."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.overlay import draw_overlay, object_colour, outline
from tests.pipeline.frame_results import make_result


def test_colours_last_and_differ() -> None:
    colours = [object_colour(obj_id) for obj_id in range(12)]
    assert colours == [object_colour(obj_id) for obj_id in range(12)]
    for a, b in itertools.combinations(colours, 2):
        assert sum(abs(p - q) for p, q in zip(a, b, strict=True)) > 60
    assert all(0 <= value <= 255 for value in object_colour(10**12))


def test_fill_and_outline() -> None:
    image = np.full((48, 80, 3), 100, np.uint8)
    result = dataclasses.replace(make_result(0, [2]), labels=[""])
    painted = draw_overlay(image, result, opacity=0.5)
    assert (image == 100).all()
    colour = np.array(object_colour(2))
    (y,), (x,) = (
        np.nonzero(result.masks[0].any(1))[0][:1],
        np.nonzero(result.masks[0].any(0))[0][:1],
    )
    assert painted[y + 9, x] == pytest.approx(colour, abs=0)
    assert painted[y + 5, x + 5] == pytest.approx((colour + 100) / 2, abs=1.5)
    changed = (painted != 100).any(axis=2)
    assert changed[result.masks[0]].all()


def test_an_outline_of_two_pixels() -> None:
    mask = np.zeros((12, 12), np.bool_)
    mask[1:9, 1:9] = True
    expected = mask.copy()
    expected[3:7, 3:7] = False
    assert np.array_equal(outline(mask, 2), expected)
    assert outline(np.ones((3, 3), np.bool_), 1).sum() == 8


def test_no_objects_and_empty_masks_change_nothing() -> None:
    image = np.arange(48 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 80, 3)
    assert np.array_equal(draw_overlay(image, FrameResult.empty(0, None, (48, 80))), image)
    gone = dataclasses.replace(make_result(0, [1]), masks=np.zeros((1, 48, 80), np.bool_))
    assert np.array_equal(draw_overlay(image, gone), image)


def test_labels_are_legible_at_720p_and_do_not_cover_each_other() -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    masks = np.zeros((2, 720, 1280), np.bool_)
    masks[:, 300:400, 500:600] = True  # the same box twice
    result = dataclasses.replace(make_result(0, [0, 1], size=(720, 1280)), masks=masks)
    painted = draw_overlay(image, result)
    bars = [np.nonzero((painted[:300] == object_colour(obj_id)).all(axis=2)) for obj_id in (0, 1)]
    height = np.ptp(bars[0][0]) + 1
    width = np.ptp(bars[0][1]) + 1
    assert 15 <= height <= 40
    assert 100 <= width <= 250
    inside = (painted[300:340] == object_colour(1)).all(axis=2).sum(axis=1)
    assert inside.max() > 60  # the second label went below the first


def test_a_label_sits_by_the_largest_part_not_by_a_speck() -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    masks = np.zeros((1, 720, 1280), np.bool_)
    masks[0, 500:600, 800:1000] = True
    masks[0, 100, 50] = True
    result = dataclasses.replace(make_result(0, [0], size=(720, 1280)), masks=masks)
    rows, columns = np.nonzero(draw_overlay(image, result).any(axis=2))
    assert np.count_nonzero(rows < 400) == 1  # the speck itself
    assert columns[rows < 500][1:].min() == 800


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 200), (200, 9)])
def test_frames_smaller_than_a_label(size: tuple[int, int]) -> None:
    result = dataclasses.replace(
        make_result(0, [0], size=(48, 80)), masks=np.ones((1, *size), np.bool_)
    )
    painted = draw_overlay(np.zeros((*size, 3), np.uint8), result)
    assert painted.shape == (*size, 3)
    assert painted.any()


def test_another_font_is_used(tmp_path: Path) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    result = make_result(0, [0], size=(200, 300))
    with pytest.raises(OSError, match="cannot open resource"):
        draw_overlay(image, result, font_path=str(tmp_path / "none.ttf"))
    assert features.check("freetype2")
