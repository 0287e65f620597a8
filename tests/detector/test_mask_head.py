from __future__ import annotations

import torch
from torch.nn import functional

from maskstream.detector.config import MaskHeadConfig
from maskstream.detector.mask_head import MaskHead, PixelDecoder, upsampling_kernel
from tests.detector.small import WIDTH
from tests.support import randomised

CONFIG = MaskHeadConfig(hidden_size=WIDTH, num_attention_heads=2)


def head() -> MaskHead:
    model = MaskHead(CONFIG)
    randomised(model)
    return model.eval().requires_grad_(False)


def levels(count: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(count, WIDTH, 4 * side, 5 * side) for side in (4, 2, 1))


def test_upsampling_kernel_is_repeat_and_convolve() -> None:
    x, weight = torch.randn(2, 6, 5, 7).double(), torch.randn(4, 6, 3, 3).double()
    repeated = functional.interpolate(x, scale_factor=2, mode="nearest")
    expected = functional.conv2d(repeated, weight, padding=1)
    kernel = upsampling_kernel(weight)
    assert kernel.shape == (6, 4, 4, 4)
    found = functional.conv_transpose2d(x, kernel, stride=2, padding=1)
    torch.testing.assert_close(found, expected)


def test_pixel_decoder_is_upsample_add_convolve() -> None:
    model = PixelDecoder(CONFIG)
    randomised(model)
    maps, index = levels(2), torch.tensor([0, 1, 1])
    fused = torch.randn(3, WIDTH, 4, 5)
    x = fused
    for stage, level in enumerate((maps[1], maps[0])):
        x = functional.interpolate(x, size=level.shape[-2:], mode="nearest") + level[index]
        x = functional.relu(model.norms[stage](model.conv_layers[stage](x)))
    found = model(fused, model.prepare(maps[:2]), index)
    torch.testing.assert_close(found, x, atol=1e-4, rtol=1e-4)


def test_instance_masks_project_the_pixels() -> None:
    model = head()
    queries, pixels = torch.randn(2, 3, WIDTH), torch.randn(2, WIDTH, 8, 6)
    projected = model.instance_projection(pixels)
    expected = torch.einsum("knc,kchw->knhw", model.mask_embedder(queries), projected)
    masks = model.instance_masks(queries, pixels)
    torch.testing.assert_close(masks, expected, atol=1e-5, rtol=1e-4)


def test_semantic_map() -> None:
    model, pixels = head(), torch.randn(2, WIDTH, 8, 6)
    weight = model.semantic_projection.weight.flatten()
    expected = (pixels * weight[:, None, None]).sum(
        1, keepdim=True
    ) + model.semantic_projection.bias
    torch.testing.assert_close(model.semantic_map(pixels), expected, atol=1e-5, rtol=1e-4)


def test_pixels_of_many_concepts_as_one_by_one() -> None:
    model, maps = head(), levels(2)
    index = torch.tensor([1, 0, 1])
    fused, prompt = torch.randn(3, 20, WIDTH), torch.randn(3, 4, WIDTH)
    valid = torch.arange(4) < torch.tensor([[4], [2], [1]])
    together = model.embed_pixels(fused, maps, index, prompt, valid)
    assert together.shape == (3, WIDTH, 16, 20)
    for k in range(3):
        own = tuple(level[index[k]][None] for level in maps)
        count = int(valid[k].sum())
        alone = model.embed_pixels(
            fused[k : k + 1],
            own,
            torch.zeros(1, dtype=torch.long),
            prompt[k : k + 1, :count],
            valid[k : k + 1, :count],
        )
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-4, rtol=1e-4)
