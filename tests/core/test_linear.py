"""Linear layers: torch's results, and for inference on the CPU the same to the bit for each row."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional

from maskstream.core.linear import HAS_ONEDNN, MAX_PACKED_BYTES, Linear, linear, packed

SIZES = [(8, 4), (96, 384), (128, 128), (192, 576), (1024, 300)]


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(0,), (1,), (2,), (7,), (3, 50), (0, 5)])
def test_layer_gives_what_torch_gives(
    size_in: int, size_out: int, relu: bool, shape: tuple[int, ...]
) -> None:
    layer = Linear(size_in, size_out)
    x = torch.randn(*shape, size_in)
    expected = functional.linear(x, layer.weight, layer.bias)
    expected = expected.relu() if relu else expected
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, relu=relu), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(layer(x, relu=relu), expected)


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_a_row_does_not_depend_on_the_others_nor_on_the_layout(
    two_threads: None, size_in: int, size_out: int
) -> None:
    layer, x = Linear(size_in, size_out), torch.randn(500, size_in)
    with torch.inference_mode():
        together = layer(x)
        assert torch.equal(together, linear(x, layer.weight, layer.bias))
        for count in (1, 2, 3, 8, 33, 257):
            assert torch.equal(layer(x[:count]), together[:count]), count


def test_only_small_weights_are_in_memory_twice() -> None:
    side = round((MAX_PACKED_BYTES / 4) ** 0.5)
    with torch.inference_mode():
        assert packed(torch.randn(side, side)).is_mkldnn == HAS_ONEDNN
        assert not packed(torch.randn(side, side + 1)).is_mkldnn
        assert not packed(torch.randn(side, side, dtype=torch.bfloat16)).is_mkldnn
    assert not packed(torch.randn(4, 4)).is_mkldnn  # gradients may be wanted


def test_a_layer_follows_its_weights() -> None:
    layer, x = Linear(16, 8), torch.randn(4, 16)
    with torch.inference_mode():
        layer(x)
    layer.load_state_dict(Linear(16, 8).state_dict())
    twin = copy.deepcopy(layer)
    with torch.inference_mode():
        expected = functional.linear(x, layer.weight, layer.bias)
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(twin(x), layer(x))
        assert layer.half()(x.half()).dtype is torch.float16


def test_under_autocast_without_gradients() -> None:
    layer, x = Linear(16, 8), torch.randn(4, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = functional.linear(x.bfloat16(), layer.weight, layer.bias)
        assert torch.equal(layer(x.bfloat16()), expected)
