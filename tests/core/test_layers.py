from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from maskstream.core.errors import ConfigError
from maskstream.core.layers import Attention, FeedForward, LayerNorm2d, activation
from tests.support import randomised


def by_definition(
    layer: Attention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention head by head, without any fused kernel."""
    q, k, v = layer.q_proj(query), layer.k_proj(key), layer.v_proj(value)
    size = q.shape[-1] // layer.num_heads
    heads = []
    for h, start in enumerate(range(0, q.shape[-1], size)):
        part = slice(start, start + size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / size**0.5
        if mask is not None:
            own = mask.expand(-1, layer.num_heads, -1, -1)[:, h]
            scores = (
                scores.masked_fill(~own, -torch.inf) if own.dtype is torch.bool else scores + own
            )
        heads.append(scores.softmax(-1) @ v[..., part])
    return layer.o_proj(torch.cat(heads, dim=-1))


@pytest.mark.parametrize("num_keys", [1, 3, 4, 5, 40])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("internal", [16, 8])
def test_attention(num_keys: int, masked: bool, internal: int) -> None:
    """Few keys take another way through the same sums than many."""
    layer = Attention(16, num_heads=4, internal_size=internal, kv_size=12)
    randomised(layer)
    query = torch.randn(3, 50, 16)
    key, value = torch.randn(3, num_keys, 12), torch.randn(3, num_keys, 12)
    lengths = torch.tensor([num_keys, 1, max(1, num_keys - 1)])
    mask = (torch.arange(num_keys) < lengths[:, None])[:, None, None] if masked else None
    expected = by_definition(layer, query, key, value, mask)
    torch.testing.assert_close(layer(query, key, value, mask), expected, atol=1e-5, rtol=1e-4)


def test_attention_with_a_bias() -> None:
    layer = Attention(16, num_heads=2)
    randomised(layer)
    query, key = torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    bias = torch.randn(2, 2, 5, 3)
    expected = by_definition(layer, query, key, key, bias)
    torch.testing.assert_close(layer(query, key, key, bias), expected, atol=1e-5, rtol=1e-4)


def test_gradients_are_the_same_for_few_keys() -> None:
    layer = Attention(16, num_heads=2)
    randomised(layer)
    query, key = torch.randn(2, 9, 16), torch.randn(2, 4, 16)
    layer(query, key, key).square().sum().backward()
    found = {name: p.grad.clone() for name, p in layer.named_parameters()}
    layer.zero_grad()
    by_definition(layer, query, key, key).square().sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-3, rtol=1e-3)


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ConfigError, match="10 channels do not divide into 3 heads"):
        Attention(10, num_heads=3)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu"])
def test_feed_forward(name: str) -> None:
    layer, x = FeedForward(6, 10, name), torch.randn(3, 6)
    kept = x.clone()
    expected = layer.fc2(getattr(functional, name)(layer.fc1(x)))
    torch.testing.assert_close(layer(x), expected)
    assert torch.equal(x, kept)


def test_unknown_activations_are_named() -> None:
    with pytest.raises(ConfigError, match="'tanh' is unknown"):
        activation("tanh")


def test_layer_norm_over_the_channels_of_a_map() -> None:
    norm, x = LayerNorm2d(5), torch.randn(2, 5, 3, 4)
    randomised(norm)
    mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    normed = (x - mean) / (var + 1e-6).sqrt()
    expected = normed * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-4)
