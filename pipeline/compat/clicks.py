"""Clicks, boxes and masks on a single picture, as SAM takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from maskstream.core.errors import PromptError
from maskstream.core.types import TrackerFeatures
from maskstream.tracker.network.model import TrackerModel
from maskstream.tracker.object_prompt import PREVIOUS_MASK_LIMIT

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Clicked:
    """Masks of N objects, K proposals each.

    Attributes:
        masks: (N, K, H, W) float32, 0 and 1, or logits.
        scores: (N, K) float32 in [0, 1], their predicted quality.
        low_res_logits: (N, K, h, w) float32 within ± 32.
    """

    masks: Array
    scores: Array
    low_res_logits: Array

    def as_one(self) -> tuple[Array, Array, Array]:
        """The three arrays; those of a single object without N in front, as SAM gives them."""
        if len(self.masks) == 1:
            return self.masks[0], self.scores[0], self.low_res_logits[0]
        return self.masks, self.scores, self.low_res_logits


@torch.inference_mode()
def predict_clicks(
    model: TrackerModel,
    features: TrackerFeatures,
    size: tuple[int, int],
    *,
    point_coords: ArrayLike | None = None,
    point_labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
    mask_input: ArrayLike | None = None,
    multimask_output: bool = True,
    return_logits: bool = False,
    normalize_coords: bool = True,
) -> Clicked:
    """Segment N objects in a picture.

    Args:
        model: the tracker's network.
        features: of the picture.
        size: (height, width) of the picture.
        point_coords: (P, 2) x, y of one object, or (N, P, 2).
        point_labels: (P,) or (N, P): 1 on the object, 0 beside it, -1 no point at all, to fill up
            where objects have fewer points than others.
        box: (4,) x0 y0 x1 y1, or (N, 4).
        mask_input: (1, h, w) or (N, 1, h, w), low-resolution logits of an earlier answer.
        multimask_output: three proposals for each object; otherwise one.
        return_logits: masks as logits, inside > 0.
        normalize_coords: coordinates are pixels of the picture; otherwise they span 0 to 1.

    Raises:
        PromptError: what was drawn cannot be used.
    """
    device = features.levels[0].device
    points, labels = _points(point_coords, point_labels)
    boxes = None if box is None else _floats("box", box).reshape(-1, 4)
    earlier = None if mask_input is None else _floats("mask_input", mask_input)
    if earlier is not None:
        earlier = earlier.reshape(-1, *earlier.shape[-2:])
        earlier = earlier.clamp(-PREVIOUS_MASK_LIMIT, PREVIOUS_MASK_LIMIT)
    height, width = size
    units = torch.tensor([width, height]) if normalize_coords else torch.ones(2)
    scale = model.config.image_size / units
    masks, scores = model.propose(
        model.embed(features),
        points=None if points is None else (points * scale).to(device),
        point_labels=None if labels is None else labels.to(device),
        boxes=None if boxes is None else (boxes * scale.repeat(2)).to(device),
        mask_logits=None if earlier is None else earlier.to(device),
        several=multimask_output,
    )
    masks = masks.float()
    at_size = functional.interpolate(masks, size, mode="bilinear", align_corners=False)
    return Clicked(
        masks=(at_size if return_logits else (at_size > 0).float()).cpu().numpy(),
        scores=scores.float().cpu().numpy(),
        low_res_logits=masks.clamp(-PREVIOUS_MASK_LIMIT, PREVIOUS_MASK_LIMIT).cpu().numpy(),
    )


def _points(
    coords: ArrayLike | None, labels: ArrayLike | None
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """(N, P, 2) points and (N, P) labels; None where none were given."""
    if coords is None and labels is None:
        return None, None
    if coords is None or labels is None:
        raise PromptError("point_coords and point_labels come together")
    points, given = _floats("point_coords", coords), _floats("point_labels", labels)
    if points.ndim == 2:
        points, given = points[None], given[None]
    if points.ndim != 3 or points.shape[2] != 2 or given.shape != points.shape[:2]:
        raise PromptError(
            f"point_coords of shape {tuple(points.shape)} with point_labels of shape "
            f"{tuple(given.shape)}; expected (N, P, 2) and (N, P)"
        )
    if not bool(((given >= -1) & (given <= 1) & (given == given.round())).all()):
        raise PromptError("point_labels are 1 (on the object), 0 (beside it) or -1 (no point)")
    return points, given.long()


def _floats(what: str, values: ArrayLike) -> Tensor:
    try:
        numbers = torch.as_tensor(np.asarray(values, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} cannot be read as numbers: {error}") from error
    if not bool(numbers.isfinite().all()):
        raise PromptError(f"{what} holds NaN or infinite values")
    return numbers
