"""Prompts as the detector takes them: words and exemplars of K concepts, in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """Encoded words or exemplars of K concepts.

    Attributes:
        tokens: (K, L, C), of the detector's width.
        valid: (K, L) bool, False on padding.
    """

    tokens: Tensor
    valid: Tensor


def pad_tokens(tokens: Sequence[Tensor]) -> PromptTokens:
    """Pad K rows of tokens (L_k, C), L_k ≥ 0, to the longest of them."""
    longest = max(item.shape[0] for item in tokens)
    padded = tokens[0].new_zeros(len(tokens), longest, tokens[0].shape[1])
    valid = torch.zeros(len(tokens), longest, dtype=torch.bool, device=padded.device)
    for row, item in enumerate(tokens):
        padded[row, : item.shape[0]] = item
        valid[row, : item.shape[0]] = True
    return PromptTokens(padded, valid)


@dataclass(frozen=True, slots=True)
class Exemplars:
    """One kind of exemplar (points, boxes or masks) of K concepts, padded to a common number.

    Attributes:
        values: (K, N, ·): points x y; boxes cx cy w h; masks (K, N, H, W) with 1 inside. All
            coordinates normalised to the image's width and height.
        labels: (K, N) int64, 1 = like this, 0 = not like this.
        valid: (K, N) bool, False on padding.
    """

    values: Tensor
    labels: Tensor
    valid: Tensor


@dataclass(frozen=True, slots=True)
class GeometryPrompts:
    """Everything shown rather than said; a kind that nobody uses is None."""

    points: Exemplars | None = None
    boxes: Exemplars | None = None
    masks: Exemplars | None = None

    @property
    def kinds(self) -> list[Exemplars]:
        """The kinds that are there."""
        return [kind for kind in (self.points, self.boxes, self.masks) if kind is not None]


@dataclass(frozen=True, slots=True)
class ConceptBatch:
    """K concepts, each to be found in one of B encoded images.

    Attributes:
        text: words of the K concepts.
        image_index: (K,) int64 into the images.
        geometry: exemplars shown on these images, or None when no concept has any.
        exemplars: exemplars shown on earlier frames, as :meth:`Detector.encode_exemplars` gave
            them; a concept without has no valid token. Not together with ``geometry``.
    """

    text: PromptTokens
    image_index: Tensor
    geometry: GeometryPrompts | None = None
    exemplars: PromptTokens | None = None

    def __len__(self) -> int:
        return self.image_index.shape[0]


@dataclass(slots=True)
class Exemplar:
    """What the caller shows of one concept on one image, before it is batched.

    Attributes:
        points: (x, y) normalised; ``point_labels`` 1 or 0 for each.
        boxes: (cx, cy, w, h) normalised; ``box_labels`` 1 or 0 for each.
        masks: (H, W) each, 1 inside; ``mask_labels`` 1 or 0 for each.
    """

    points: list[tuple[float, float]] = field(default_factory=list)
    point_labels: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    box_labels: list[int] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    mask_labels: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.points or self.boxes or self.masks)


def _pad(values: list[Tensor], labels: list[list[int]], device: torch.device) -> Exemplars | None:
    """Pad one kind to a common number; None when nobody uses it."""
    count = max(len(item) for item in labels)
    if count == 0:
        return None
    shape = next(v for v in values if v.shape[0]).shape[1:]
    padded = torch.zeros(len(values), count, *shape, device=device)
    label = torch.zeros(len(values), count, dtype=torch.int64, device=device)
    valid = torch.zeros(len(values), count, dtype=torch.bool, device=device)
    for row, (value, given) in enumerate(zip(values, labels, strict=True)):
        if given:
            padded[row, : len(given)] = value.to(device)
            label[row, : len(given)] = torch.tensor(given, device=device)
            valid[row, : len(given)] = True
    return Exemplars(padded, label, valid)


def batch_exemplars(
    exemplars: list[Exemplar], device: torch.device | str = "cpu"
) -> GeometryPrompts | None:
    """Pad the exemplars of K concepts into one batch; None when none of them has any."""
    if not any(exemplars):
        return None
    device = torch.device(device)
    mask_size = next((m.shape for e in exemplars for m in e.masks), (1, 1))
    return GeometryPrompts(
        points=_pad(
            [torch.tensor(e.points).view(-1, 2) for e in exemplars],
            [e.point_labels for e in exemplars],
            device,
        ),
        boxes=_pad(
            [torch.tensor(e.boxes).view(-1, 4) for e in exemplars],
            [e.box_labels for e in exemplars],
            device,
        ),
        masks=_pad(
            [
                torch.stack([m.float() for m in e.masks]) if e.masks else torch.zeros(0, *mask_size)
                for e in exemplars
            ],
            [e.mask_labels for e in exemplars],
            device,
        ),
    )
