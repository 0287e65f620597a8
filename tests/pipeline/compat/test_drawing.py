"""Drawing functions by the names of SAM 3's notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from maskstream.core.errors import InputError
from maskstream.pipeline.compat import drawing
from maskstream.pipeline.sources import open_source

plt.switch_backend("Agg")


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


def test_videos_are_saved_with_their_masks(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 24), (60, 60, 60)) for _ in range(3)]
    mask = np.zeros((1, 24, 32), np.bool_)
    mask[0, 8:16, 8:16] = True
    outputs = {index: {"out_obj_ids": np.array([1]), "out_binary_masks": mask} for index in (0, 2)}
    drawing.save_masklet_video(frames, outputs, tmp_path / "c.mp4", fps=5)
    with open_source(tmp_path / "c.mp4") as source:
        read = list(source)
    assert [frame.pts_s for frame in read] == pytest.approx([0.0, 0.2])
    inside, outside = read[1].image[10:14, 10:14].mean(axis=(0, 1)), read[1].image[0, 0]
    np.testing.assert_allclose(inside, 30 + 127.5 * drawing.color_of(1), atol=12)
    np.testing.assert_allclose(outside, 60, atol=6)
    with pytest.raises(InputError, match="no frame to write"):
        drawing.save_masklet_video(frames, {}, tmp_path / "d.mp4")
    with pytest.raises(IndexError):
        drawing.save_masklet_video(frames, {0: outputs[0], 9: outputs[2]}, tmp_path / "e.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["c.mp4"]


def test_a_frame_is_shown_with_its_outputs() -> None:
    outputs = {
        "out_obj_ids": np.array([7]),
        "out_binary_masks": np.ones((1, 4, 6), np.bool_),
        "out_boxes_xywh": np.array([[0.5, 0.25, 0.5, 0.5]]),
        "out_probs": np.array([0.75]),
    }
    drawing.visualize_frame_output(0, [Image.new("RGB", (6, 4))], outputs)
    axis = plt.gca()
    assert [text.get_text() for text in axis.texts] == ["id 7: 0.75"]
    assert axis.patches[0].get_bbox().bounds == pytest.approx((3, 1, 3, 2))
    plt.close("all")


def test_neighbouring_colours_differ() -> None:
    steps = np.abs(np.diff(drawing.COLORS, axis=0)).max(axis=1)
    assert steps.min() > 0.3
