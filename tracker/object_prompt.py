"""What a user draws to make or correct one object: clicks, a box or a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.errors import PromptError
from maskstream.core.limits import MAX_PIXELS

Coordinates: TypeAlias = Tensor | NDArray[np.generic] | Sequence[Sequence[float]]
Labels: TypeAlias = Tensor | NDArray[np.generic] | Sequence[int]
Box: TypeAlias = Tensor | NDArray[np.generic] | Sequence[float]

PREVIOUS_MASK_LIMIT = 32.0
"""The logits of a mask that is to be corrected are held within ± this."""


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """A checked prompt. Coordinates are normalised: 0, 0 top left, 1, 1 bottom right.

    Attributes:
        points: (P, 2) float32, x y.
        point_labels: (P,) int64, 1 on the object, 0 off it.
        box: (4,) float32, x0 y0 x1 y1, or None.
        mask: (H, W) bool, or None; of any size, covering the whole frame.
    """

    points: Tensor
    point_labels: Tensor
    box: Tensor | None
    mask: Tensor | None

    def after(self, points: Tensor, point_labels: Tensor, box: Tensor | None) -> ObjectPrompt:
        """The same prompt on top of earlier clicks; the earlier box stays unless there is a new."""
        if self.mask is not None:
            return self
        return ObjectPrompt(
            torch.cat([points, self.points]),
            torch.cat([point_labels, self.point_labels]),
            box if self.box is None else self.box,
            None,
        )


def object_prompt(
    points: Coordinates | None = None,
    point_labels: Labels | None = None,
    box: Box | None = None,
    mask: Tensor | NDArray[np.generic] | None = None,
) -> ObjectPrompt:
    """Check what was drawn; labels that are not given are 1.

    Raises:
        PromptError: nothing was drawn, a mask comes with clicks or a box, or values that cannot
            be used.
    """
    if mask is not None:
        if points is not None or box is not None:
            raise PromptError("a mask cannot come with points or a box; give one or the other")
        return ObjectPrompt(torch.zeros(0, 2), _no_labels(), None, _checked_mask(mask))
    if points is None and box is None:
        raise PromptError("nothing to prompt an object with; give points, a box or a mask")
    if points is None and point_labels is not None:
        raise PromptError("point_labels without points")
    clicks = torch.zeros(0, 2) if points is None else _floats("points", points)
    if clicks.dim() != 2 or clicks.shape[1] != 2:
        raise PromptError(f"points of shape {tuple(clicks.shape)}; they must be (P, 2), x y")
    _check_range("points", clicks)
    if len(clicks) == 0 and box is None:
        raise PromptError("points is empty; give at least one point, a box or a mask")
    return ObjectPrompt(clicks, _checked_labels(point_labels, len(clicks)), _checked_box(box), None)


def _no_labels() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


def _floats(what: str, values: Coordinates | Box) -> Tensor:
    try:
        return torch.as_tensor(values, dtype=torch.float32, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"{what} cannot be read as numbers: {error}") from error


def _check_range(what: str, values: Tensor) -> None:
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise PromptError(f"{what} {values.tolist()} lie outside the frame; normalise to [0, 1]")


def _checked_labels(labels: Labels | None, num_points: int) -> Tensor:
    if labels is None:
        return torch.ones(num_points, dtype=torch.int64)
    given = _floats("point_labels", labels)
    if given.shape != (num_points,):
        raise PromptError(f"{num_points} points with labels of shape {tuple(given.shape)}")
    if not bool(((given == 0) | (given == 1)).all()):
        raise PromptError(f"point_labels {given.tolist()}; 1 is on the object and 0 off it")
    return given.to(torch.int64)


def _checked_box(box: Box | None) -> Tensor | None:
    if box is None:
        return None
    corners = _floats("box", box)
    if corners.shape != (4,):
        raise PromptError(f"box of shape {tuple(corners.shape)}; it must be (4,), x0 y0 x1 y1")
    _check_range("box", corners)
    if not bool((corners[2:] > corners[:2]).all()):
        raise PromptError(f"box {corners.tolist()} is empty; x1 and y1 must exceed x0 and y0")
    return corners


def _checked_mask(mask: Tensor | NDArray[np.generic]) -> Tensor:
    num_pixels = prod(mask.shape)
    if len(mask.shape) != 2 or num_pixels == 0:
        raise PromptError(f"mask of shape {tuple(mask.shape)}; it must be (H, W)")
    if num_pixels > MAX_PIXELS:
        raise PromptError(f"mask of {num_pixels:,} pixels; at most {MAX_PIXELS:,} are possible")
    # A copy, since torch warns of arrays that cannot be written to.
    given = mask if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask))
    if given.dtype != torch.bool and not bool(((given == 0) | (given == 1)).all()):
        raise PromptError(f"mask of {given.dtype} with other values than 0 and 1")
    inside = given.to(torch.bool)
    if not bool(inside.any()):
        raise PromptError("mask is empty; to drop an object, remove it")
    if bool(inside.all()):
        raise PromptError("mask covers the whole frame; it must be false outside the object")
    return inside
