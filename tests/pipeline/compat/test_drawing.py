"""Drawing functions by the names of SAM 3's notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from maskstream.core.errors import InputError
from maskstream.pipeline.compat import drawing

matplotlib.use("Agg")
from matplotlib.figure import Figure


@pytest.fixture
def axis() -> Any:
    return Figure().add_subplot()


def test_boxes_are_normalised() -> None:
    assert drawing.normalize_bbox([10, 10, 20, 5], 100, 50) == [0.1, 0.2, 0.2, 0.1]
    many = drawing.normalize_bbox(torch.tensor([[10.0, 10.0, 20.0, 5.0]]), 100, 50)
    torch.testing.assert_close(many, torch.tensor([[0.1, 0.2, 0.2, 0.1]]))


@pytest.mark.parametrize(
    ("box", "box_format", "relative"),
    [
        ([10, 20, 40, 60], "XYXY", False),
        ([10, 20, 30, 40], "XYWH", False),
        ([25, 40, 30, 40], "CxCyWH", False),
        ([0.1, 0.2, 0.4, 0.6], "XYXY", True),
    ],
)
def test_boxes_are_drawn(axis: Any, box: list[float], box_format: str, relative: bool) -> None:
    drawing.plot_bbox(100, 100, box, box_format, relative, text="a", ax=axis)
    (patch,) = axis.patches
    assert patch.get_bbox().bounds == pytest.approx((10, 20, 30, 40))
    assert [text.get_text() for text in axis.texts] == ["a"]
    with pytest.raises(InputError, match="box_format"):
        drawing.plot_bbox(1, 1, box, "YX", ax=axis)


def test_masks_are_laid_over(axis: Any) -> None:
    mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    mask[0, 1, 2] = True
    drawing.show_mask(mask, axis, random_color=True)
    (layer,) = axis.images
    assert layer.get_array()[..., 3].sum() == 0.5


def test_frames_are_pictures_or_files(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 4), (9, 8, 7))
    picture.save(tmp_path / "a.png")
    for frame in (picture, np.asarray(picture), str(tmp_path / "a.png"), tmp_path / "a.png"):
        assert np.array_equal(drawing.load_frame(frame), np.asarray(picture))
    with pytest.raises(InputError, match="not int"):
        drawing.load_frame(3)


def test_frames_are_saved_with_their_masks(tmp_path: Path) -> None:
    mask = np.zeros((1, 4, 6), np.bool_)
    mask[0, 1, 2] = True
    outputs = {"out_obj_ids": np.array([5]), "out_binary_masks": mask}
    drawing.save_masklet_image(Image.new("RGB", (6, 4)), outputs, tmp_path / "b.png")
    drawn = np.asarray(Image.open(tmp_path / "b.png"))
    assert drawn[1, 2].tolist() == (127.5 * drawing.color_of(5)).round().astype(int).tolist()
    assert drawn.sum() == drawn[1, 2].sum()


def test_neighbouring_colours_differ() -> None:
    steps = np.abs(np.diff(drawing.COLORS, axis=0)).max(axis=1)
    assert steps.min() > 0.3
