"""The segmentation head: pixel decoder, instance masks and the semantic map."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.derived import Derived
from maskstream.core.layers import Attention
from maskstream.core.linear import Linear, is_cpu_inference, linear, packed, products
from maskstream.detector.config import MaskHeadConfig

CHUNK_BYTES = 1 << 30
"""Pixel embeddings that are made at once on an accelerator. On the CPU it is one concept's: more
doesn't stay in its caches, and the blocks of memory for it come and go with the frame."""


def upsampling_kernel(weight: Tensor) -> Tensor:
    """The transposed convolution that does "repeat every cell 2×2, then convolve 3×3".

    Seen from the coarse grid, a 3×3 window on the repeated map covers only 2×2 different cells, so
    the taps that fall on the same cell add up: 16 products a cell instead of 36.

    Args:
        weight: (C_out, C_in, 3, 3) of the convolution, padding 1.

    Returns:
        (C_in, C_out, 4, 4) for ``conv_transpose2d`` with stride 2 and padding 1, laid out
        channels last, which is how it is fastest.
    """

    def merge(taps: Tensor, dim: int) -> Tensor:
        first, second, third = taps.unbind(dim)
        return torch.stack((third, second + third, first + second, first), dim)

    rows = weight.permute(1, 2, 3, 0).contiguous()
    return merge(merge(rows, 1), 2).permute(0, 3, 1, 2)


class Stage(NamedTuple):
    """One stage of the pixel decoder on given images.

    The convolution of (upsampled + neck map) is the sum of two: one per image, that all its
    concepts share, and one per concept that never leaves the coarse grid.

    Attributes:
        shared: (B, C, 2h, 2w), the convolved neck maps.
        kernel: of the transposed convolution from (h, w) to (2h, 2w).
    """

    shared: Tensor
    kernel: Tensor
    norm: nn.Module


class PixelDecoder(nn.Module):
    """From the fused map up to the finest level, adding the neck's maps on the way."""

    def __init__(self, config: MaskHeadConfig) -> None:
        super().__init__()
        size, stages = config.hidden_size, config.num_upsampling_stages
        self.conv_layers = nn.ModuleList(
            nn.Conv2d(size, size, kernel_size=3, padding=1) for _ in range(stages)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, size) for _ in range(stages))
        self._kernels: Derived[list[Tensor]] = Derived()

    def prepare(self, levels: tuple[Tensor, ...]) -> list[Stage]:
        """What all concepts share.

        Args:
            levels: (B, C, 4h, 4w), (B, C, 2h, 2w) of the images.
        """
        convs = cast("list[nn.Conv2d]", list(self.conv_layers))
        weights = [conv.weight for conv in convs]
        kernels = self._kernels.of(weights, lambda: [upsampling_kernel(w) for w in weights])
        parts = zip(convs, kernels, self.norms, reversed(levels), strict=False)
        return [Stage(conv(level), kernel, norm) for conv, kernel, norm, level in parts]

    def forward(self, fused: Tensor, stages: list[Stage], image_index: Tensor) -> Tensor:
        """Decode.

        Args:
            fused: (K, C, h, w).
            stages: of the images.
            image_index: (K,) int64 into the images.

        Returns:
            (K, C, 4h, 4w).
        """
        x = fused
        for stage in stages:
            x = functional.conv_transpose2d(x, stage.kernel, stride=2, padding=1)
            x += stage.shared if stage.shared.shape[0] == 1 else stage.shared[image_index]
            x = functional.relu(_normalize(stage.norm, x), inplace=True)
        return x


def _normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """Group norm of K maps. For inference on the CPU one by one, channels last: a batch is shared
    out among threads by its size, and sums round by that.
    """
    if not is_cpu_inference(x):
        out: Tensor = norm(x)
        return out
    normed = [norm(one) for one in x.contiguous(memory_format=torch.channels_last).split(1)]
    return normed[0] if len(normed) == 1 else torch.cat(normed)


class MaskEmbedder(nn.Module):
    """Three linear layers from a query to its mask embedding."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(size, size) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        first, second, third = self.layers
        out: Tensor = third(functional.relu(second(functional.relu(first(x)))))
        return out


class MaskHead(nn.Module):
    """Masks of queries, and a map of the concept as a whole."""

    def __init__(self, config: MaskHeadConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.pixel_decoder = PixelDecoder(config)
        self.mask_embedder = MaskEmbedder(size)
        self.instance_projection = nn.Conv2d(size, size, kernel_size=1)
        self.semantic_projection = nn.Conv2d(size, 1, kernel_size=1)
        self.prompt_cross_attn = Attention(size, config.num_attention_heads)
        self.prompt_cross_attn_norm = nn.LayerNorm(size)
        self.prompt_cross_attn_dropout = nn.Dropout(config.dropout)
        self._back_projection: Derived[Tensor] = Derived()

    def embed_pixels(
        self,
        fused: Tensor,
        levels: tuple[Tensor, ...],
        image_index: Tensor,
        prompt: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """Pixel embeddings of K concepts.

        Args:
            fused: (K, h·w, C).
            levels: the neck's maps of the images, fine to coarse.
            image_index: (K,) int64 into the images.
            prompt: (K, T, C) with ``valid`` (K, T) bool.

        Returns:
            (K, C, 4h, 4w).
        """
        stages = self.pixel_decoder.prepare(levels[:-1])
        size = (levels[-1].shape[-2], levels[-1].shape[-1])
        return self._embed_pixels(fused, size, stages, image_index, prompt, valid)

    def _embed_pixels(
        self,
        fused: Tensor,
        size: tuple[int, int],
        stages: list[Stage],
        image_index: Tensor,
        prompt: Tensor,
        valid: Tensor,
    ) -> Tensor:
        normed = self.prompt_cross_attn_norm(fused)
        seen = self.prompt_cross_attn(normed, prompt, prompt, valid[:, None, None, :])
        fused = fused + self.prompt_cross_attn_dropout(seen)
        # Seen as a map, tokens lie in memory channels last, which is how convolutions are fastest.
        grid = fused.transpose(1, 2).unflatten(-1, size)
        out: Tensor = self.pixel_decoder(grid, stages, image_index)
        return out

    def masks_of_concepts(
        self,
        queries: Tensor,
        fused: Tensor,
        levels: tuple[Tensor, ...],
        image_index: Tensor,
        prompt: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """Mask logits of K concepts, whose pixel embeddings are never held all at once.

        Args:
            queries: (K, N, C); the other arguments are those of :meth:`embed_pixels`.

        Returns:
            (K, N, 4h, 4w).
        """
        stages = self.pixel_decoder.prepare(levels[:-1])
        size = (levels[-1].shape[-2], levels[-1].shape[-1])
        num_bytes = len(queries) * levels[0][0].numel() * fused.element_size()
        on_cpu = fused.device.type == "cpu"
        num_chunks = max(1, len(queries) if on_cpu else -(-num_bytes // CHUNK_BYTES))
        chunks = (part.chunk(num_chunks) for part in (queries, fused, image_index, prompt, valid))
        return torch.cat(
            [
                self.instance_masks(q, self._embed_pixels(x, size, stages, index, p, v))
                for q, x, index, p, v in zip(*chunks, strict=True)
            ]
        )

    def instance_masks(self, queries: Tensor, pixels: Tensor) -> Tensor:
        """Mask logits of queries.

        The 1×1 projection of the pixels is moved to the queries' side, where it is cheap:
        e · (W p + b) = (Wᵀ e) · p + e · b.

        Args:
            queries: (K, N, C).
            pixels: (K, C, H, W).

        Returns:
            (K, N, H, W).
        """
        embedding = self.mask_embedder(queries)
        projection = self.instance_projection
        weight = self._back_projection.of(
            (projection.weight,), lambda: packed(projection.weight.flatten(1).t())
        )
        bias = linear(embedding, cast("Tensor", projection.bias)[None])
        masks = products(linear(embedding, weight), pixels.flatten(2).mT) + bias
        grid: Tensor = masks.unflatten(-1, pixels.shape[-2:])
        return grid

    def semantic_map(self, pixels: Tensor) -> Tensor:
        """Logits (K, 1, H, W) of the concept as a whole."""
        out: Tensor = self.semantic_projection(pixels)
        return out
