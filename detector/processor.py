"""The image interface that SAM 3 clients know: set an image, prompt it, read the state."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from maskstream.core.errors import ConfigError, ImageError, PromptError
from maskstream.core.spans import clipped_box
from maskstream.core.types import Detections
from maskstream.detector.build import Sam3ImageModel
from maskstream.detector.concepts import ConceptEncoder
from maskstream.detector.model import ImageFeatures
from maskstream.detector.preprocess import Picture, picture_size, to_pixels
from maskstream.detector.prompts import Exemplar

State = dict[str, Any]

RELEASED_RESOLUTION = 1008
"""Side of the square that the released model sees, in pixels."""


class Sam3Processor:
    """Prompts images by words, boxes, points and masks.

    Everything that belongs to one image lives in the ``state`` dictionary that :meth:`set_image`
    returns, so one processor serves many images. After a prompt the state holds

    - ``masks``: (N, 1, H, W) bool at the image's own size,
    - ``masks_logits``: (N, 1, H, W) float, the probabilities the masks were cut from at 0.5,
    - ``boxes``: (N, 4) float, x0 y0 x1 y1 in pixels of the image,
    - ``scores``: (N,) float, class probability × presence probability,
    - ``original_height`` and ``original_width``,
    - ``backbone_out``: the encoded picture, for this program alone.

    A state of :meth:`set_image_batch` holds lists of these, one entry an image.

    Args:
        model: from ``maskstream.build_sam3_image_model``.
        resolution: side of the square that the model sees, in pixels. It belongs to the weights, so
            only the model's own is possible; 1008, which programs for SAM 3 write because it is
            that of the released weights, stands for it whatever it is.
        device: only the model's own is possible.
        confidence_threshold: detections above this score are kept.
        nms_iou: of two masks of one prompt that overlap more than this, the lower-scored one is
            dropped; None, as in the original image interface, keeps both.
    """

    def __init__(
        self,
        model: Sam3ImageModel,
        resolution: int | None = None,
        device: torch.device | str | None = None,
        confidence_threshold: float = 0.5,
        *,
        nms_iou: float | None = None,
    ) -> None:
        _check_resolution(model, resolution)
        _check_device(model, device)
        self.model = model
        self.nms_iou = nms_iou
        self.confidence_threshold = _checked_threshold(confidence_threshold)
        self._concepts = ConceptEncoder(model, model.tokenizer)

    @torch.inference_mode()
    def set_image(self, image: Picture, state: State | None = None) -> State:
        """Encode an image; earlier prompts of ``state`` are dropped.

        Raises:
            ImageError: the image cannot be used; ``state`` is as it was.
        """
        return self._set([image], state, batched=False)

    @torch.inference_mode()
    def set_image_batch(self, images: Sequence[Picture], state: State | None = None) -> State:
        """Encode several images of any sizes in one pass.

        Raises:
            ImageError: one of them cannot be used; ``state`` is as it was.
        """
        if not isinstance(images, Sequence) or isinstance(images, str | bytes):
            raise ImageError(f"images must be a list, not a {type(images).__name__}")
        return self._set(list(images), state, batched=True)

    def _set(self, images: list[Picture], state: State | None, *, batched: bool) -> State:
        weight = self.model.text_projection.weight
        pixels = to_pixels(images, self.model.config.image_size, weight.device, weight.dtype)
        features = self.model.encode_image(pixels, tracker=self.model.wants_tracker_features)
        sizes = [picture_size(image) for image in images]
        state = {} if state is None else state
        self.reset_all_prompts(state)
        for key in ("original_height", "original_width", "original_heights", "original_widths"):
            state.pop(key, None)
        if batched:
            state["original_heights"] = [height for height, _ in sizes]
            state["original_widths"] = [width for _, width in sizes]
        else:
            state["original_height"], state["original_width"] = sizes[0]
        state["backbone_out"], state["sizes"], state["batched"] = features, sizes, batched
        return state

    @torch.inference_mode()
    def set_text_prompt(self, prompt: str, state: State) -> State:
        """Find what ``prompt`` names; boxes given before stay in force.

        Raises:
            PromptError: no image is set, or the text is empty or too long.
        """
        self._features(state)
        self._concepts.encode_texts([prompt])
        state["text"] = prompt
        return self._detect(state)

    @torch.inference_mode()
    def add_geometric_prompt(
        self,
        box: Sequence[float] | None = None,
        label: bool = True,
        state: State | None = None,
        *,
        point: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> State:
        """Show one exemplar: give exactly one of ``box``, ``point`` and ``mask``.

        Args:
            box: cx, cy, w, h normalised to the image; cut at its edges.
            label: True for "like this", False for "not like this".
            point: x, y normalised to the image.
            mask: (H, W), nonzero inside, covering the whole image.

        Raises:
            PromptError: no image is set, or the exemplar cannot be used.
        """
        if state is None:
            raise PromptError("add_geometric_prompt needs the state that set_image returned")
        self._features(state)
        exemplar = state.get("exemplar") or Exemplar()
        state["exemplar"] = _extended(exemplar, box, point, mask, int(bool(label)))
        return self._detect(state)

    def reset_all_prompts(self, state: State) -> State:
        """Forget prompts and results; the encoded image stays. Returns the same state."""
        for key in ("text", "exemplar", "boxes", "masks", "masks_logits", "scores"):
            state.pop(key, None)
        return state

    @torch.inference_mode()
    def set_confidence_threshold(self, threshold: float, state: State | None = None) -> State:
        """Change the threshold and, where ``state`` holds results, make them anew.

        Raises:
            PromptError: the threshold is outside [0, 1].
        """
        self.confidence_threshold = _checked_threshold(threshold)
        if state is not None and "boxes" in state:
            return self._detect(state)
        return {} if state is None else state

    def _features(self, state: State) -> ImageFeatures:
        features = state.get("backbone_out") if isinstance(state, dict) else None
        if not isinstance(features, ImageFeatures):
            raise PromptError("call set_image before prompting, and give the state it returned")
        return features

    def _detect(self, state: State) -> State:
        features = self._features(state)
        count = len(state["sizes"])
        exemplar = state.get("exemplar")
        concepts = self._concepts.batch(
            [state.get("text")] * count,
            None if exemplar is None else [exemplar] * count,
            list(range(count)),
        )
        found = self.model.detect(
            features,
            concepts,
            concepts.image_index,
            score_threshold=self.confidence_threshold,
            nms_iou=self.nms_iou,
        )
        results = [_at_size(one, size) for one, size in zip(found, state["sizes"], strict=True)]
        for key in ("masks_logits", "masks", "boxes", "scores"):
            values = [result[key] for result in results]
            state[key] = values if state["batched"] else values[0]
        return state


def _at_size(found: Detections, size: tuple[int, int]) -> dict[str, Tensor]:
    """Detections of one image at its own (height, width)."""
    height, width = size
    masks = found.masks.unsqueeze(1)
    if len(found):
        masks = functional.interpolate(masks, (height, width), mode="bilinear")
    else:
        masks = masks.new_zeros(0, 1, height, width)
    probabilities = masks.sigmoid()
    return {
        "masks_logits": probabilities,
        "masks": probabilities > 0.5,
        "boxes": found.boxes * found.boxes.new_tensor([width, height, width, height]),
        "scores": found.scores,
    }


def _check_resolution(model: Sam3ImageModel, resolution: int | None) -> None:
    if resolution not in (None, RELEASED_RESOLUTION, model.config.image_size):
        raise ConfigError(
            f"resolution is {resolution}, but this model sees {model.config.image_size} pixels"
        )


def _check_device(model: Sam3ImageModel, device: torch.device | str | None) -> None:
    own = model.text_projection.weight.device
    if device is not None and torch.device(device).type != own.type:
        raise ConfigError(f"device is {device}, but the model is on {own}; move the model instead")


def _checked_threshold(threshold: float) -> float:
    (number,) = _numbers([threshold], "a confidence threshold")
    if not 0.0 <= number <= 1.0:
        raise PromptError(f"confidence threshold is {threshold}; it must lie in [0, 1]")
    return number


def _numbers(values: Sequence[float], what: str) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"expected {what} as numbers, got {values!r}") from error


def _checked(values: Sequence[float], names: str) -> tuple[float, ...]:
    numbers = _numbers(values, names)
    if len(numbers) != len(names.split()):
        raise PromptError(f"expected {names}, got {len(numbers)} numbers")
    if not all(isfinite(number) for number in numbers):
        raise PromptError(f"{names} must be normalised to [0, 1], got {numbers}")
    return numbers


def _clipped(box: tuple[float, ...]) -> tuple[float, float, float, float]:
    """A box cx, cy, w, h cut at the edges of the image."""
    cx, cy, width, height = box
    if width <= 0 or height <= 0:
        raise PromptError("a box must have a width and a height above 0")
    corners = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    inside = clipped_box(corners)
    if inside is None:
        hint = "; these look like pixels" if max(box) > 2 else ""
        raise PromptError(
            f"box {box} lies outside the image or reaches far out of it; expected cx cy w h, "
            f"normalised to [0, 1] by the image's width and height{hint}"
        )
    if inside == corners:
        return (cx, cy, width, height)
    x0, y0, x1, y1 = inside
    return ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)


def _extended(
    exemplar: Exemplar,
    box: Sequence[float] | None,
    point: Sequence[float] | None,
    mask: Tensor | None,
    label: int,
) -> Exemplar:
    """A copy of ``exemplar`` with one more."""
    if sum(item is not None for item in (box, point, mask)) != 1:
        raise PromptError("give exactly one of box, point and mask")
    more = Exemplar(
        points=list(exemplar.points),
        point_labels=list(exemplar.point_labels),
        boxes=list(exemplar.boxes),
        box_labels=list(exemplar.box_labels),
        masks=list(exemplar.masks),
        mask_labels=list(exemplar.mask_labels),
    )
    if box is not None:
        more.boxes.append(_clipped(_checked(box, "cx cy w h")))
        more.box_labels.append(label)
    if point is not None:
        x, y = _checked(point, "x y")
        if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
            raise PromptError(f"x y must be normalised to [0, 1], got {(x, y)}")
        more.points.append((x, y))
        more.point_labels.append(label)
    if mask is not None:
        mask = _as_tensor(mask)
        if mask.ndim != 2 or not bool((mask != 0).any()):
            raise PromptError("a mask must be (height, width) with something inside")
        more.masks.append(_to_grid(mask))
        more.mask_labels.append(label)
    return more


def _as_tensor(mask: Tensor) -> Tensor:
    try:
        tensor = torch.as_tensor(mask)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"a mask must be an array (height, width): {error}") from error
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise PromptError("a mask must not hold NaN or infinite values")
    return tensor


def _to_grid(mask: Tensor, side: int = 288) -> Tensor:
    """A mask of any size on one common grid, so that masks can stand in one batch."""
    return functional.interpolate((mask != 0).float()[None, None], (side, side), mode="area")[0, 0]
