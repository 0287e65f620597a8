"""Drawing functions by the names that SAM 3's notebooks use.

Those that show a figure need matplotlib, which maskstream does not require.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from maskstream.core.errors import InputError
from maskstream.core.masks import boxes_from_masks
from maskstream.core.pictures import picture_to_rgb
from maskstream.pipeline.sinks import VideoWriter
from maskstream.pipeline.sources import load_picture

Outputs = dict[int, Any]

_GOLDEN_RATIO = 0.618034
COLORS: NDArray[np.float64] = np.array(
    [colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1.0, 0.75, 0.95) for number in range(128)]
)
"""(128, 3) red, green, blue in [0, 1]; neighbours differ in hue as much as they can."""

_ALPHA = 0.5


def normalize_bbox(bbox: Sequence[float] | Tensor, img_w: float, img_h: float) -> Any:
    """A box in pixels, of four numbers or a tensor (..., 4), by the size of its picture."""
    if isinstance(bbox, Tensor):
        return bbox / bbox.new_tensor([img_w, img_h, img_w, img_h])
    return [value / size for value, size in zip(bbox, (img_w, img_h) * 2, strict=True)]


def draw_box_on_image(
    image: Image.Image, box: Sequence[float], color: tuple[int, int, int] = (0, 255, 0)
) -> Image.Image:
    """A copy of a picture with a box x, y, w, h in pixels drawn onto it."""
    drawn = image.convert("RGB")
    x, y, width, height = box
    ImageDraw.Draw(drawn).rectangle((x, y, x + width, y + height), outline=color, width=3)
    return drawn


def load_frame(frame: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a picture in memory, or of a file.

    Raises:
        InputError: it is neither.
    """
    if isinstance(frame, str | Path):
        return load_picture(Path(frame))
    if isinstance(frame, np.ndarray | Image.Image):
        return picture_to_rgb(frame)
    raise InputError(f"a frame is a picture or its file, not {type(frame).__name__}")


def prepare_masks_for_visualization(
    frame_to_output: dict[int, Any],
) -> dict[int, dict[int, NDArray[np.bool_]]]:
    """Turn outputs of frames into masks of objects, in place; empty ones are left out."""
    for index, outputs in frame_to_output.items():
        pairs = zip(outputs["out_obj_ids"].tolist(), outputs["out_binary_masks"], strict=True)
        frame_to_output[index] = {obj_id: mask for obj_id, mask in pairs if mask.any()}
    return frame_to_output


def render_masklet_frame(
    img: NDArray[Any], outputs: Mapping[str, Any], frame_idx: int | None = None, alpha: float = 0.5
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a frame with the masks of its outputs laid over it."""
    drawn = picture_to_rgb(np.asarray(img)[..., :3]).astype(np.float64)
    for obj_id, mask in zip(outputs["out_obj_ids"], outputs["out_binary_masks"], strict=True):
        inside = np.asarray(mask) > 0.5
        drawn[inside] = (1 - alpha) * drawn[inside] + alpha * 255 * color_of(int(obj_id))
    return drawn.round().astype(np.uint8)


def save_masklet_image(
    frame: Any,
    outputs: Mapping[str, Any],
    out_path: str | Path,
    alpha: float = 0.5,
    frame_idx: int | None = None,
) -> None:
    """Write a frame with the masks of its outputs to a picture file."""
    Image.fromarray(render_masklet_frame(load_frame(frame), outputs, frame_idx, alpha)).save(
        out_path
    )


def save_masklet_video(
    video_frames: Sequence[Any],
    outputs: Mapping[int, Mapping[str, Any]],
    out_path: str | Path,
    alpha: float = 0.5,
    fps: float = 10,
) -> None:
    """Write frames with the masks of their outputs to a video file, H.264 in MP4.

    Args:
        video_frames: pictures or their files, all of one size.
        outputs: by the index of the frame; the video has these frames, in order.
        out_path: the file.
        alpha: how much of a mask's colour covers the picture.
        fps: frames per second.

    Raises:
        InputError: there is no frame to write.
        OutputError: the file cannot be written.
    """
    if not outputs:
        raise InputError("there is no frame to write: outputs is empty")
    height, width = load_frame(video_frames[min(outputs)]).shape[:2]
    writer = VideoWriter(Path(out_path), width, height, Fraction(fps).limit_denominator(1001))
    try:
        for index in sorted(outputs):
            frame = load_frame(video_frames[index])
            writer.write(render_masklet_frame(frame, outputs[index], index, alpha), None)
    except BaseException:
        writer.discard()
        raise
    writer.finish()


def visualize_frame_output(
    frame_idx: int,
    video_frames: Sequence[Any],
    outputs: Mapping[str, Any],
    figsize: tuple[float, float] = (12, 8),
) -> None:
    """Show a frame with the masks, boxes and scores of its outputs."""
    picture = load_frame(video_frames[frame_idx])
    axis = _new_figure(figsize)
    axis.set_title(f"frame {frame_idx}")
    axis.imshow(picture)
    height, width = picture.shape[:2]
    for obj_id, mask, box, score in zip(
        outputs["out_obj_ids"].tolist(),
        outputs["out_binary_masks"],
        outputs["out_boxes_xywh"],
        outputs["out_probs"],
        strict=True,
    ):
        color, text = color_of(obj_id), f"id {obj_id}: {float(score):.2f}"
        plot_bbox(height, width, box, "XYWH", text=text, color=color, ax=axis)
        plot_mask(mask, color, axis)


def color_of(number: int) -> NDArray[np.float64]:
    """The colour of an object, (3,) in [0, 1]."""
    color: NDArray[np.float64] = COLORS[number % len(COLORS)]
    return color


def plot_mask(mask: Any, color: Any = "r", ax: Any = None) -> None:
    """Lay a mask (H, W) over the picture of an axis."""
    from matplotlib.colors import to_rgb

    layer = np.zeros((*_numpy(mask).shape[-2:], 4))
    layer[..., :3] = to_rgb(color)
    layer[..., 3] = _numpy(mask).reshape(layer.shape[:2]) * _ALPHA
    _axis(ax).imshow(layer)


def plot_bbox(
    img_height: float,
    img_width: float,
    box: Any,
    box_format: str = "XYXY",
    relative_coords: bool = True,
    color: Any = "r",
    linestyle: str = "solid",
    text: str | None = None,
    ax: Any = None,
) -> None:
    """Draw a box with a text above it.

    Args:
        img_height: height of the picture in pixels.
        img_width: its width.
        box: four numbers.
        box_format: "XYXY", "XYWH" or "CxCyWH".
        relative_coords: the numbers span 0 to 1; otherwise they are pixels.
        color: of lines and text.
        linestyle: matplotlib's.
        text: None for none.
        ax: None takes the current axis.

    Raises:
        InputError: another format.
    """
    from matplotlib.patches import Rectangle

    a, b, c, d = (float(value) for value in _numpy(box))
    corners = {
        "XYXY": (a, b, c - a, d - b),
        "XYWH": (a, b, c, d),
        "CxCyWH": (a - c / 2, b - d / 2, c, d),
    }
    if box_format not in corners:
        raise InputError(f"box_format is {box_format!r}; it must be one of {', '.join(corners)}")
    scale = (img_width, img_height) if relative_coords else (1.0, 1.0)
    x, y, width, height = (v * s for v, s in zip(corners[box_format], scale * 2, strict=True))
    axis = _axis(ax)
    axis.add_patch(
        Rectangle((x, y), width, height, edgecolor=color, facecolor="none", linestyle=linestyle)
    )
    if text is not None:
        axis.text(x, y - 5, text, color=color, bbox={"facecolor": "w", "alpha": 0.75, "pad": 2})


def plot_results(img: Image.Image, results: Mapping[str, Any]) -> None:
    """Show a picture with masks, boxes and scores of a state or of a batch's query."""
    _new_figure((12, 8)).imshow(img)
    width, height = img.size
    print(f"found {len(results['scores'])} object(s)")
    rows = zip(results["masks"], results["boxes"], results["scores"], strict=True)
    for number, (mask, box, score) in enumerate(rows):
        color = color_of(number)
        plot_mask(mask, color)
        text = f"{number}: {float(score):.2f}"
        plot_bbox(height, width, box, relative_coords=False, color=color, text=text)


def visualize_formatted_frame_output(
    frame_idx: int,
    video_frames: Sequence[Any],
    outputs_list: Any,
    titles: Sequence[str] | None = None,
    points_list: Sequence[Any] | None = None,
    points_labels_list: Sequence[Any] | None = None,
    figsize: tuple[float, float] = (12, 8),
    title_suffix: str = "",
    prompt_info: Any = None,
) -> None:
    """Show a frame once for each set of outputs, with masks, boxes and identities.

    Args:
        frame_idx: the frame.
        video_frames: pictures or their files.
        outputs_list: what ``prepare_masks_for_visualization`` gave, one or several.
        titles: one for each set.
        points_list: for each set (P, 2) x, y in pixels, or None.
        points_labels_list: for each set (P,), 1 on the object, 0 beside it.
        figsize: width and height in inches.
        title_suffix: stands behind each title.
        prompt_info: not used.
    """
    import matplotlib.pyplot as plt

    sets = [outputs_list] if isinstance(outputs_list, dict) else list(outputs_list)
    picture = load_frame(video_frames[frame_idx])
    height, width = picture.shape[:2]
    _, axes = plt.subplots(1, len(sets), figsize=figsize, squeeze=False)
    for number, (axis, outputs) in enumerate(zip(axes[0], sets, strict=True)):
        title = titles[number] if titles else f"Set {number + 1}"
        axis.set_title(f"Frame {frame_idx} - {title}{title_suffix}")
        axis.imshow(picture)
        for obj_id, mask in outputs.get(frame_idx, {}).items():
            inside = torch.as_tensor(_numpy(mask)).bool()
            box, color = boxes_from_masks(inside[None])[0], color_of(obj_id)
            text = f"id {obj_id}"
            plot_mask(inside, color, axis)
            plot_bbox(height, width, box, relative_coords=False, color=color, text=text, ax=axis)
        if points_list is not None and points_list[number] is not None and points_labels_list:
            show_points(points_list[number], points_labels_list[number], axis, marker_size=200)
        axis.axis("off")
    plt.show()


def show_mask(mask: Any, ax: Any, obj_id: int | None = None, random_color: bool = False) -> None:
    """Lay a mask (1, H, W) or (H, W) over the picture of an axis."""
    number = int(np.random.default_rng().integers(len(COLORS))) if random_color else obj_id or 0
    plot_mask(mask, color_of(number), ax)


def show_box(box: Any, ax: Any) -> None:
    """Draw a box x0, y0, x1, y1 in pixels."""
    plot_bbox(1, 1, box, relative_coords=False, color="green", ax=ax)


def show_points(coords: Any, labels: Any, ax: Any, marker_size: float = 375) -> None:
    """Draw points (P, 2) in pixels: green stars on the object, red ones beside it."""
    points, given = _numpy(coords).reshape(-1, 2), _numpy(labels).reshape(-1)
    for label, color in ((1, "green"), (0, "red")):
        x, y = points[given == label].T
        ax.scatter(x, y, color=color, marker="*", s=marker_size, edgecolor="white", linewidth=1.25)


def _numpy(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _axis(ax: Any) -> Any:
    import matplotlib.pyplot as plt

    return plt.gca() if ax is None else ax


def _new_figure(size: tuple[float, float]) -> Any:
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size).gca()
