"""Clicks, boxes and mask prompts as embeddings for the mask decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from maskstream.core.errors import PromptError
from maskstream.core.layers import LayerNorm2d, activation
from maskstream.tracker.config import PromptEncoderConfig

# Labels of points. Boxes are two points, their corners.
PADDING = -10
NOT_A_POINT = -1
TOP_LEFT = 2
BOTTOM_RIGHT = 3


class FourierPosition(nn.Module):
    """Random Fourier features of positions (Tancik et al., 2020), as in SAM."""

    positional_embedding: Tensor

    def __init__(self, config: PromptEncoderConfig) -> None:
        super().__init__()
        frequencies = torch.empty(2, config.hidden_size // 2).normal_(std=config.scale)
        self.register_buffer("positional_embedding", frequencies)

    def forward(self, positions: Tensor) -> Tensor:
        """Encode.

        Args:
            positions: (..., 2) x and y as fractions of the picture's width and height.

        Returns:
            (..., hidden_size), of the dtype of the frequencies.
        """
        frequencies = self.positional_embedding
        angles = 2 * math.pi * ((2 * positions - 1).to(frequencies.dtype) @ frequencies)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def of_grid(self, height: int, width: int) -> Tensor:
        """Encoding of the centres of a grid's cells, (height * width, hidden_size), row-major."""
        like = self.positional_embedding
        y = (torch.arange(height, device=like.device) + 0.5) / height
        x = (torch.arange(width, device=like.device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        encoded: Tensor = self(grid.flatten(0, 1))
        return encoded


class MaskEmbedding(nn.Module):
    """A mask of four pixels a cell, shrunk to one embedding a cell."""

    def __init__(self, config: PromptEncoderConfig) -> None:
        super().__init__()
        outer, inner = config.mask_input_channels, config.mask_input_channels // 4
        self.conv1 = nn.Conv2d(1, inner, kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(inner, outer, kernel_size=2, stride=2)
        self.conv3 = nn.Conv2d(outer, config.hidden_size, kernel_size=1)
        self.layer_norm1 = LayerNorm2d(inner, eps=config.layer_norm_eps)
        self.layer_norm2 = LayerNorm2d(outer, eps=config.layer_norm_eps)
        self.activation = activation(config.hidden_act)

    def forward(self, masks: Tensor) -> Tensor:
        """(N, 1, 4h, 4w) to (N, hidden_size, h, w)."""
        x = self.activation(self.layer_norm1(self.conv1(masks)))
        x = self.activation(self.layer_norm2(self.conv2(x)))
        out: Tensor = self.conv3(x)
        return out


class PromptEncoder(nn.Module):
    """Embeds prompts: points and boxes as tokens, masks as a map."""

    def __init__(self, config: PromptEncoderConfig) -> None:
        super().__init__()
        self.shared_embedding = FourierPosition(config)
        self.mask_embed = MaskEmbedding(config)
        self.no_mask_embed = nn.Embedding(1, config.hidden_size)
        self.point_embed = nn.Embedding(config.num_point_embeddings, config.hidden_size)
        self.not_a_point_embed = nn.Embedding(1, config.hidden_size)
        self.image_size = config.image_size

    def points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Embed points; one that is none is added, as the decoder was trained with it.

        Args:
            points: (N, P, 2) x y, pixels of the model's input; the pixel's corner is meant, half a
                pixel is added.
            labels: (N, P) int: 1 and 0 positive and negative, 2 and 3 corners of a box,
                ``NOT_A_POINT``, or ``PADDING`` for an embedding of zeros.

        Returns:
            (N, P + 1, hidden_size).
        """
        labels = labels.long()
        kinds = self.point_embed.weight
        encoded = self.shared_embedding((points.float() + 0.5) / self.image_size)
        encoded = encoded + kinds[labels.clamp(min=0)] * (labels >= 0)[..., None]
        encoded = torch.where(
            (labels == NOT_A_POINT)[..., None], self.not_a_point_embed.weight, encoded
        )
        encoded = encoded.masked_fill((labels == PADDING)[..., None], 0.0)
        return torch.cat((encoded, self._no_points(1).expand(len(points), -1, -1)), dim=1)

    def _no_points(self, n: int) -> Tensor:
        return self.not_a_point_embed.weight.expand(1, n, -1)

    def no_points(self) -> Tensor:
        """What stands for "no point at all": (1, 2, hidden_size), two that are none."""
        return self._no_points(2)

    def no_mask(self) -> Tensor:
        """What stands for "no mask prompt" in every cell: (1, 1, hidden_size)."""
        return self.no_mask_embed.weight[None]

    def masks(self, masks: Tensor) -> Tensor:
        """Embed mask prompts.

        Args:
            masks: (N, 4h, 4w) logits, or whatever ``mask_downsample`` makes of a drawn mask.

        Returns:
            (N, h * w, hidden_size), cells row-major.
        """
        embedded: Tensor = self.mask_embed(masks[:, None])
        return embedded.flatten(2).transpose(1, 2)


def check_prompt(
    mask_size: tuple[int, int],
    points: Tensor | None,
    labels: Tensor | None,
    boxes: Tensor | None,
    mask_logits: Tensor | None,
) -> int:
    """The number of masklets that prompts are for; what they are: :meth:`TrackerModel.prompt`.

    Raises:
        PromptError: no prompt at all, points without labels, or shapes that don't fit.
    """
    if (points is None) != (labels is None):
        raise PromptError("points and point_labels must be given together")
    counts = set()
    for what, value, shape in (
        ("points", points, (None, None, 2)),
        ("point_labels", labels, (None, None)),
        ("boxes", boxes, (None, 4)),
        ("mask_logits", mask_logits, (None, *mask_size)),
    ):
        if value is None:
            continue
        sizes = tuple(value.shape)
        fits = len(sizes) == len(shape) and all(
            wanted in (None, size) for wanted, size in zip(shape, sizes, strict=True)
        )
        if not fits:
            wanted_text = ", ".join("any" if size is None else str(size) for size in shape)
            raise PromptError(f"{what} of shape {sizes}; they must be ({wanted_text})")
        counts.add(sizes[0])
    if not counts:
        raise PromptError("no prompt: give points, boxes or mask_logits")
    if len(counts) > 1 or (
        points is not None and labels is not None and points.shape[:2] != labels.shape
    ):
        raise PromptError("points, point_labels, boxes and mask_logits differ in number")
    return int(counts.pop())
