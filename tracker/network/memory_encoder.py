"""The memory encoder: a frame's features and a masklet's mask, fused into a memory map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import Parameter

from maskstream.core.layers import LayerNorm2d, activation
from maskstream.core.linear import Linear, is_cpu_inference
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.multiplex.config import MultiplexConfig

EncoderConfig: TypeAlias = TrackerConfig | MultiplexConfig

# Up to this many channels, PyTorch's layer norm spends its time on starting rows.
NARROW = 8
# Masklets encoded at a time on the CPU, whose caches hold no more.
CPU_CHUNK = 4


class MaskDownSamplerLayer(nn.Module):
    """A strided convolution, norm over channels, activation."""

    def __init__(self, config: EncoderConfig, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in,
            channels_out,
            kernel_size=config.mask_downsampler_kernel_size,
            stride=config.mask_downsampler_stride,
            padding=config.mask_downsampler_padding,
        )
        self.layer_norm = LayerNorm2d(channels_out)
        self.activation = activation(config.mask_downsampler_hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.conv.out_channels <= NARROW
        normed = self._narrow_norm(x) if narrow else self.layer_norm(self.conv(x))
        out: Tensor = self.activation(normed)
        return out

    def _narrow_norm(self, x: Tensor) -> Tensor:
        """Convolution and norm where there are few channels and very many pixels.

        Weights whose mean over the outputs is taken out give features of mean zero, so that only
        their squares are left to be averaged: 4 ms instead of 14 for 16 masks of 320×320.
        """
        conv, norm = self.conv, self.layer_norm
        bias = None if conv.bias is None else conv.bias - conv.bias.mean()
        weight = conv.weight - conv.weight.mean(0, keepdim=True)
        # Mask by mask: with AVX2, oneDNN rounds small pictures by how many there are.
        some = x.split(1) if is_cpu_inference(x) else (x,)
        maps = [functional.conv2d(one, weight, bias, conv.stride, conv.padding) for one in some]
        x = maps[0] if len(maps) == 1 else torch.cat(maps)
        scale = (x * x).mean(1, keepdim=True).add(norm.eps).rsqrt()
        return torch.addcmul(norm.bias[:, None, None], x * scale, norm.weight[:, None, None])


class MaskDownSampler(nn.Module):
    """Masks of 16 pixels a cell, shrunk to one embedding a cell.

    Args:
        config: kernel, stride and activation of the convolutions.
        channels: those of the masks, then behind each convolution.
        embed_dim: channels of the embedding.
    """

    def __init__(self, config: EncoderConfig, channels: Sequence[int], embed_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MaskDownSamplerLayer(config, before, after) for before, after in pairwise(channels)
        )
        self.final_conv = nn.Conv2d(channels[-1], embed_dim, kernel_size=1)

    def forward(self, masks: Tensor) -> Tensor:
        """(N, channels[0], 16h, 16w) to (N, embed_dim, h, w)."""
        for layer in self.layers:
            masks = layer(masks)
        out: Tensor = self.final_conv(masks)
        return out


class MemoryFuserBlock(nn.Module):
    """A ConvNeXt block (Liu et al., 2022): depthwise convolution, norm, two pointwise layers."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = config.memory_fuser_embed_dim
        self.depthwise_conv = nn.Conv2d(
            dim,
            dim,
            kernel_size=config.memory_fuser_kernel_size,
            padding=config.memory_fuser_padding,
            groups=dim,
        )
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)
        self.activation = activation(config.memory_fuser_hidden_act)
        self.pointwise_conv1 = Linear(dim, config.memory_fuser_intermediate_dim)
        self.pointwise_conv2 = Linear(config.memory_fuser_intermediate_dim, dim)
        self.scale = Parameter(torch.full((dim,), config.memory_fuser_layer_scale_init_value))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to the same."""
        fused = self.layer_norm(self.depthwise_conv(x).permute(0, 2, 3, 1))
        fused = self.pointwise_conv2(self.activation(self.pointwise_conv1(fused)))
        out: Tensor = x + (self.scale * fused).permute(0, 3, 1, 2)
        return out


class MemoryFuser(nn.Module):
    """Blocks one after another."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryFuserBlock(config) for _ in range(config.memory_fuser_num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Memory maps of N masklets from one frame's features and their masks."""

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__()
        hidden = config.memory_encoder_hidden_size
        stride = config.mask_downsampler_stride
        num_layers = round(math.log(config.mask_downsampler_total_stride, stride))
        channels = [stride ** (2 * layer) for layer in range(num_layers + 1)]
        self.mask_downsampler = MaskDownSampler(config, channels, config.mask_downsampler_embed_dim)
        self.feature_projection = nn.Conv2d(hidden, hidden, kernel_size=1)
        self.memory_fuser = MemoryFuser(config)
        self.projection = nn.Conv2d(hidden, config.memory_encoder_output_channels, kernel_size=1)

    def forward(self, image: Tensor, masks: Tensor) -> Tensor:
        """Encode.

        Args:
            image: (1, C, h, w), the frame's coarsest features.
            masks: (N, 1, 16h, 16w), scaled as the encoder wants them.

        Returns:
            (N, M, h, w).
        """
        projected = self.feature_projection(image)
        chunk = CPU_CHUNK if image.device.type == "cpu" else len(masks)
        maps: list[Tensor] = [
            self.projection(self.memory_fuser(projected + self.mask_downsampler(some)))
            for some in masks.split(chunk)
        ]
        return maps[0] if len(maps) == 1 else torch.cat(maps)
