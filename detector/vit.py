"""The vision transformer: patches, tiled positions, 2-D RoPE, windows and global layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.layers import FeedForward
from maskstream.core.linear import Linear
from maskstream.core.position import axial_turns, turn_pairs
from maskstream.detector.config import ViTConfig


class PatchEmbedding(nn.Module):
    """Cut an image into patches and give each its absolute position."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.patch_embeddings = nn.ModuleDict(
            {
                "projection": nn.Conv2d(
                    config.num_channels,
                    config.hidden_size,
                    kernel_size=config.patch_size,
                    stride=config.patch_size,
                    bias=False,
                )
            }
        )
        self.pretrain_grid = config.pretrain_image_size // config.patch_size
        self.position_embeddings = nn.Parameter(
            torch.empty(1, self.pretrain_grid**2, config.hidden_size).normal_(std=0.02)
        )

    def tiled_positions(self, height: int, width: int) -> Tensor:
        """The pre-training positions laid side by side over a grid, (1, height, width, C)."""
        side = self.pretrain_grid
        positions = self.position_embeddings.unflatten(1, (side, side))
        tiled: Tensor = positions.tile(1, -(-height // side), -(-width // side), 1)
        return tiled[:, :height, :width]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, h, w, C)."""
        patches: Tensor = self.patch_embeddings["projection"](pixels).permute(0, 2, 3, 1)
        placed: Tensor = patches + self.tiled_positions(*patches.shape[1:3])
        return placed


class RopeSelfAttention(nn.Module):
    """Self-attention over the cells of a grid, with queries and keys turned by their position."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.theta = config.rope_theta
        self.trained_side = config.window_size
        self.qkv_proj = Linear(config.hidden_size, 3 * config.hidden_size)
        self.o_proj = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h, w, C). Positions span one window whatever the grid's size."""
        batch, height, width, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, height * width, 3, self.num_heads, self.head_dim)
        turns = axial_turns(
            height, width, self.head_dim, self.theta, self.trained_side / width, x.device
        )
        query, key = turn_pairs(qkv[:, :, :2], turns[:, None, None]).transpose(1, 3).unbind(2)
        attended = functional.scaled_dot_product_attention(query, key, qkv[:, :, 2].transpose(1, 2))
        out: Tensor = self.o_proj(attended.transpose(1, 2).reshape(batch, height, width, -1))
        return out


def partition_windows(x: Tensor, side: int) -> Tensor:
    """Cut (B, h, w, C) into (B · windows, side, side, C), padding with zeros below and right."""
    batch, height, width, channels = x.shape
    x = functional.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    rows, columns = x.shape[1] // side, x.shape[2] // side
    x = x.view(batch, rows, side, columns, side, channels).transpose(2, 3)
    return x.reshape(-1, side, side, channels)


def join_windows(windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo :func:`partition_windows` for a grid of ``size`` (height, width)."""
    side, channels = windows.shape[1], windows.shape[3]
    rows, columns = -(-size[0] // side), -(-size[1] // side)
    x = windows.view(-1, rows, columns, side, side, channels).transpose(2, 3)
    return x.reshape(-1, rows * side, columns * side, channels)[:, : size[0], : size[1]]


class ViTLayer(nn.Module):
    """Pre-norm transformer layer; attention in windows of ``window_size``, or global if 0."""

    def __init__(self, config: ViTConfig, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = RopeSelfAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h, w, C)."""
        normed = self.layer_norm1(x)
        if self.window_size:
            windows = self.attention(partition_windows(normed, self.window_size))
            x = x + join_windows(windows, (x.shape[1], x.shape[2]))
        else:
            x = x + self.attention(normed)
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class ViT(nn.Module):
    """The vision backbone."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.embeddings = PatchEmbedding(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(
            ViTLayer(config, 0 if index in config.global_attn_indexes else config.window_size)
            for index in range(config.num_hidden_layers)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: (B, 3, H, W), normalised; H and W multiples of the patch size.

        Returns:
            (B, C, H / patch, W / patch).
        """
        x: Tensor = self.layer_norm(self.embeddings(pixels))
        for layer in self.layers:
            x = layer(x)
        return x.permute(0, 3, 1, 2)
