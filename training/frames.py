"""Rendered frames at training size, with truth at a quarter of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.scenes import ClipRenderer, Frame
from training.spec import Split, make_clip

FULL_SIDE = 256
MAX_TARGETS = 9
TEMPLATE = 8
# Least that has to be seen of a thing to be asked for: a share of the picture, and pixels of an
# emoji.
MIN_SHARE = 0.0012
MIN_PICTURE_AREA = 180.0
# Moments of a clip out of which the one with most things in sight is taken.
NUM_MOMENTS = 3


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """One frame at training size.

    Attributes:
        image: (S, S, 3) uint8.
        coverage: (N, S/4, S/4) float32.
        boxes: (N, 4) cx cy w h normalised, of what is visible.
        stencils: (N, TEMPLATE²) float32, each visible mask with its box stretched to a square.
        usable: (N,) bool, whether enough is visible to be asked for.
        kinds: (N,) int64, -1 for those without a name.
        colors: (N,) int64, -1 for those of no named colour.
    """

    image: npt.NDArray[np.uint8]
    coverage: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    stencils: npt.NDArray[np.float32]
    usable: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.int64]
    colors: npt.NDArray[np.int64]


class Crowd(TypedDict):
    """How many objects of what size a clip shows, as ``make_clip`` takes it."""

    num_objects: tuple[int, int]
    zoom: float


def crowd_at(side: int, least: int = 1) -> Crowd:
    """Fewer and larger objects in smaller pictures.

    Objects nearly keep their size in pixels, as in a cutout of a full-size picture, so that what
    is learned on small pictures carries over.
    """
    zoom = FULL_SIDE / side
    most = min(max(least, round(MAX_TARGETS / zoom)), MAX_TARGETS)
    return Crowd(num_objects=(least, most), zoom=zoom**0.8)


def sample_frame(seed: int, side: int, split: Split) -> SampledFrame:
    """Render one frame of clip ``seed`` at ``side`` pixels, mostly one that shows something."""
    spec = make_clip(seed, split, **crowd_at(side))
    rng = np.random.default_rng((seed, 77))
    moments = rng.integers(0, 400, NUM_MOMENTS)
    chosen = max(moments.tolist(), key=spec.num_inside)
    if rng.random() < 0.1:
        chosen = int(moments[0])
    return reduce_frame(ClipRenderer(spec, (side, side), supersample=3).frame(chosen))


def reduce_frame(frame: Frame) -> SampledFrame:
    """Truth at a quarter of the frame's resolution, with boxes."""
    count, height, width = frame.visible.shape
    cells = frame.visible.reshape(count, height // 4, 4, width // 4, 4).mean((2, 4))
    boxes = visible_boxes(frame.masks)
    stencils = np.stack([_stencil(*pair) for pair in zip(frame.visible, boxes, strict=True)])
    area = frame.visible.sum((1, 2))
    pictured = (frame.kinds >= 0) & (frame.colors < 0)
    # Emoji are known by their details, so more of them has to be seen.
    least = np.maximum(np.where(pictured, MIN_PICTURE_AREA, 0.0), MIN_SHARE * height * width)
    share = np.where(pictured, 0.3, 0.2)
    enough = (area >= least) & (area >= share * frame.amodal_area)
    usable = enough & (boxes[:, 2:] > 0).all(1)
    return SampledFrame(frame.image, cells, boxes, stencils, usable, frame.kinds, frame.colors)


def _stencil(
    visible: npt.NDArray[np.float32], box: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """What is seen of one object, cut out along its box and resampled to TEMPLATE²."""
    if not box[2:].all():
        return np.zeros(TEMPLATE * TEMPLATE, np.float32)
    height, width = visible.shape
    corner, size = box[:2] - box[2:] / 2, box[2:]
    x0, y0 = round(corner[0] * width), round(corner[1] * height)
    x1, y1 = round((corner + size)[0] * width), round((corner + size)[1] * height)
    cut = Image.fromarray(visible[y0:y1, x0:x1])
    small = cut.resize((TEMPLATE, TEMPLATE), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).ravel().clip(0, 1)


def visible_boxes(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Tight boxes of (N, H, W) masks, cx cy w h normalised; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    height, width = masks.shape[1:]
    rows = np.asarray(masks.any(axis=2))
    columns = np.asarray(masks.any(axis=1))
    for index in np.flatnonzero(rows.any(axis=1)):
        ys, xs = np.flatnonzero(rows[index]), np.flatnonzero(columns[index])
        x0, x1, y0, y1 = xs[0], xs[-1] + 1, ys[0], ys[-1] + 1
        center = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
        boxes[index] = (*center, (x1 - x0) / width, (y1 - y0) / height)
    return boxes
