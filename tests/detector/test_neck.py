from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from maskstream.detector.config import VisionConfig
from maskstream.detector.neck import Neck, NeckLevel
from tests.detector.small import CONFIG, VIT, WIDTH
from tests.support import randomised


def test_levels_fine_to_coarse() -> None:
    neck = Neck(CONFIG.vision_config)
    x = torch.randn(2, VIT.hidden_size, 6, 10)
    shapes = [tuple(level.shape[1:]) for level in neck(x)]
    assert shapes == [(WIDTH, 24, 40), (WIDTH, 12, 20), (WIDTH, 6, 10)]
    assert neck(x, num_levels=4)[3].shape == (2, WIDTH, 3, 5)


def test_levels_do_not_depend_on_how_many_are_made() -> None:
    neck = Neck(CONFIG.vision_config)
    x = torch.randn(1, VIT.hidden_size, 4, 4)
    for few, many in zip(neck(x, 2), neck(x, 4), strict=False):
        assert torch.equal(few, many)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
def test_a_level_by_hand(scale: float) -> None:
    level = NeckLevel(8, 6, scale)
    randomised(level)
    x = torch.randn(1, 8, 4, 4)
    scaled = x
    if scale == 0.5:
        scaled = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    elif scale > 1.0:
        for index in range(0, len(level.scale_layers), 2):
            convolution = level.scale_layers[index]
            # Kernel and stride are 2: every cell becomes its own 2×2 block.
            blocks = torch.einsum("bchw,coyx->bohywx", scaled, convolution.weight)
            scaled = blocks.flatten(4, 5).flatten(2, 3) + convolution.bias[:, None, None]
            if index + 1 < len(level.scale_layers):
                scaled = functional.gelu(scaled)
    projected = torch.einsum("bchw,oc->bohw", scaled, level.proj1.weight[..., 0, 0])
    projected = projected + level.proj1.bias[:, None, None]
    expected = functional.conv2d(projected, level.proj2.weight, level.proj2.bias, padding=1)
    torch.testing.assert_close(level(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("width", [4, 6, 12])
@pytest.mark.parametrize("size", [(1, 3), (2, 2), (3, 7)])
def test_inference_gives_what_training_gives(width: int, size: tuple[int, int]) -> None:
    """On the CPU both projections of narrow maps are one; borders are where that could go wrong."""
    level = NeckLevel(width, 6, 1.0)
    randomised(level)
    x = torch.randn(2, width, *size)
    expected = level(x)
    with torch.inference_mode():
        torch.testing.assert_close(level(x), expected.detach(), atol=1e-5, rtol=1e-4)


def test_the_branches_have_weights_of_their_own() -> None:
    first, second = Neck(VisionConfig(backbone_config=VIT)), Neck(VisionConfig(backbone_config=VIT))
    assert {n: p.shape for n, p in first.named_parameters()} == {
        n: p.shape for n, p in second.named_parameters()
    }
    assert first.fpn_layers[0].proj1.weight is not second.fpn_layers[0].proj1.weight
