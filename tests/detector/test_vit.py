from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maskstream.detector.vit import (
    PatchEmbedding,
    RopeSelfAttention,
    ViT,
    join_windows,
    partition_windows,
)
from tests.detector.small import VIT
from tests.support import randomised


@pytest.mark.parametrize(("height", "width"), [(6, 6), (7, 5), (2, 9), (1, 1)])
def test_windows_come_back_together(height: int, width: int) -> None:
    x = torch.randn(2, height, width, 4)
    windows = partition_windows(x, 3)
    assert windows.shape == (2 * -(-height // 3) * -(-width // 3), 3, 3, 4)
    assert torch.equal(join_windows(windows, (height, width)), x)


def test_windows_are_squares_of_the_grid_padded_with_zeros() -> None:
    x = torch.randn(1, 4, 5, 2)
    windows = partition_windows(x, 3)
    assert torch.equal(windows[0], x[0, :3, :3])
    assert torch.equal(windows[1, :, :2], x[0, :3, 3:])
    assert windows[1, :, 2].abs().max() == 0
    assert torch.equal(windows[3, :1, :2], x[0, 3:, 3:])
    assert windows[3, 1:].abs().max() == 0


def test_positions_are_tiled() -> None:
    embedding = PatchEmbedding(VIT)  # 5×5 positions
    tiled = embedding.tiled_positions(7, 12)
    rows = embedding.position_embeddings.view(5, 5, -1)
    for y, x in [(0, 0), (4, 4), (5, 3), (6, 11), (2, 10)]:
        assert torch.equal(tiled[0, y, x], rows[y % 5, x % 5])
    assert embedding.tiled_positions(3, 2).shape == (1, 3, 2, VIT.hidden_size)


def rotated(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotary embedding by complex numbers: x (heads, L, D), positions (L, 2) as x y."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(0, half, 2) / half)
    angles = torch.cat([positions[:, :1] * frequencies, positions[:, 1:] * frequencies], dim=-1)
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(turned * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (8, 8)])
def test_attention_with_rotary_positions(height: int, width: int) -> None:
    """A larger grid spans the same positions as one window."""
    attention = RopeSelfAttention(VIT)
    randomised(attention)
    x = torch.randn(1, height, width, VIT.hidden_size)
    heads, size = VIT.num_attention_heads, VIT.hidden_size
    q, k, v = (
        part.view(-1, heads, size // heads).transpose(0, 1)
        for part in attention.qkv_proj(x[0]).split(size, dim=-1)
    )
    cells = [(column, row) for row in range(height) for column in range(width)]
    positions = torch.tensor(cells) * (VIT.window_size / width)
    q, k = (rotated(part, positions, VIT.rope_theta) for part in (q, k))
    weights = (q @ k.transpose(1, 2) / math.sqrt(size // heads)).softmax(-1)
    expected = attention.o_proj((weights @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(attention(x).view(-1, size), expected, atol=1e-5, rtol=1e-4)


def change_of(model: ViT) -> Tensor:
    """Where the output moves when the upper left patch changes, (h, w)."""
    pixels = torch.rand(1, 3, 64, 64)
    other = pixels.clone()
    other[..., :8, :8] = 0
    return (model(pixels) - model(other)).abs().amax(1)[0]


def test_a_window_sees_only_itself_and_a_global_layer_everything() -> None:
    windowed = ViT(replace(VIT, num_hidden_layers=1, global_attn_indexes=()))
    randomised(windowed)
    with torch.no_grad():
        change = change_of(windowed.eval())
    assert change[:3, :3].min() > 0
    assert change[3:].max() == 0
    assert change[:, 3:].max() == 0

    whole = ViT(replace(VIT, num_hidden_layers=1, global_attn_indexes=(0,)))
    randomised(whole)
    with torch.no_grad():
        assert change_of(whole.eval()).min() > 0


def test_images_that_are_not_square() -> None:
    model = ViT(VIT).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 48, 80)).shape == (2, VIT.hidden_size, 6, 10)


def test_images_do_not_mix() -> None:
    model = ViT(VIT)
    randomised(model)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        both = model.eval()(pixels)
        torch.testing.assert_close(both[1:], model(pixels[1:]), atol=1e-5, rtol=1e-5)
