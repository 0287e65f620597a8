from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maskstream.core.errors import PromptError
from maskstream.core.position import sine_position_2d
from maskstream.detector.geometry import GeometryEncoder, mask_boxes
from maskstream.detector.prompts import Exemplars, GeometryPrompts
from tests.detector.small import GEOMETRY, WIDTH
from tests.support import bilinear_sample, randomised, roi_align_by_definition

HEIGHT, WIDTH_CELLS = 6, 8


def encoder(seed: int = 0, **changes: bool) -> GeometryEncoder:
    model = GeometryEncoder(replace(GEOMETRY, **changes))
    randomised(model, seed)
    return model.eval().requires_grad_(False)


def image(count: int = 1) -> Tensor:
    return torch.randn(count, WIDTH, HEIGHT, WIDTH_CELLS)


def run(model: GeometryEncoder, prompts: GeometryPrompts | None, img: Tensor) -> Tensor:
    """Tokens of the valid exemplars of one concept, the CLS token last."""
    tokens, valid = model(prompts, img, sine_position_2d(HEIGHT, WIDTH_CELLS, WIDTH))
    return tokens[valid]


def exemplars(values: Tensor, labels: list[list[int]]) -> Exemplars:
    """-1 stands for padding."""
    label = torch.tensor(labels)
    return Exemplars(values, label.clamp(min=0), label >= 0)


BOXES = torch.tensor([[[0.4, 0.5, 0.3, 0.4], [0.7, 0.3, 0.2, 0.5]]])


def turns(value: float, size: int) -> list[float]:
    """Sine encoding of a scalar: sin, cos, sin, cos, … of 2π · value / 10000^(2i / size)."""
    code = []
    for i in range(size // 2):
        angle = 2 * math.pi * value / 10000 ** (2 * i / size)
        code += [math.sin(angle), math.cos(angle)]
    return code


def test_points_by_hand() -> None:
    model, img = encoder(), image()
    points = torch.tensor([[[0.3, 0.8], [0.02, 0.5]]])
    normed = model.vision_layer_norm(img.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    tokens = model.encode_points(exemplars(points, [[1, 1]]), normed)
    padded = torch.nn.functional.pad(normed[0], (1, 1, 1, 1))
    for token, (x, y) in zip(tokens[0], points[0].tolist(), strict=True):
        # A cell's value stands at its centre; outside the map is zero.
        sample = bilinear_sample(
            padded, y * HEIGHT + 0.5, x * WIDTH_CELLS + 0.5, HEIGHT + 2, WIDTH_CELLS + 2
        )
        code = torch.tensor(turns(x, WIDTH // 2) + turns(y, WIDTH // 2))
        expected = (
            model.points_direct_project(torch.tensor([x, y]))
            + model.points_pool_project(sample)
            + model.points_pos_enc_project(code)
        )
        torch.testing.assert_close(token, expected, atol=1e-5, rtol=1e-4)


def test_boxes_by_hand() -> None:
    model, img = encoder(), image()
    tokens = model.encode_boxes(BOXES, img)
    for token, (cx, cy, w, h) in zip(tokens[0], BOXES[0].tolist(), strict=True):
        corners = torch.tensor([[cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]])
        cells = corners * torch.tensor([WIDTH_CELLS, HEIGHT, WIDTH_CELLS, HEIGHT])
        pooled = roi_align_by_definition(img, [cells], GEOMETRY.roi_size)[0]
        code = torch.tensor([*turns(cy, WIDTH // 2), *turns(cx, WIDTH // 2), h, w])
        expected = (
            model.boxes_direct_project(torch.tensor([cx, cy, w, h]))
            + (model.boxes_pool_project.weight * pooled).sum((1, 2, 3))
            + model.boxes_pool_project.bias
            + model.boxes_pos_enc_project(code)
        )
        torch.testing.assert_close(token, expected, atol=1e-5, rtol=1e-4)


def test_mask_boxes() -> None:
    masks = torch.zeros(1, 3, 10, 20)
    masks[0, 0, 2:5, 4:16] = 1
    masks[0, 1, 9, 0] = 1
    expected = [[0.5, 0.35, 0.6, 0.3], [0.025, 0.95, 0.05, 0.1], [0, 0, 0, 0]]
    torch.testing.assert_close(mask_boxes(masks), torch.tensor([expected]))


def test_mask_counts_as_its_bounding_box() -> None:
    model, img = encoder(), image()
    masks = torch.zeros(1, 1, 10, 20)
    masks[0, 0, 2, 4] = masks[0, 0, 6, 15] = 1
    box = torch.tensor([[[0.5, 0.45, 0.6, 0.5]]])
    as_mask = run(model, GeometryPrompts(masks=exemplars(masks, [[1]])), img)
    as_box = run(model, GeometryPrompts(boxes=exemplars(box, [[1]])), img)
    torch.testing.assert_close(as_mask, as_box)


def test_mask_with_a_projection_adds_the_mean_of_what_it_covers() -> None:
    model, img = encoder(encode_masks=True), image()
    masks = torch.zeros(1, 1, 2 * HEIGHT, 2 * WIDTH_CELLS)
    masks[0, 0, 2:6, 4:7] = 1  # cells (1, 2) and (2, 2) wholly, (1, 3) and (2, 3) by half
    mean = (img[0, :, 1:3, 2].sum(1) + 0.5 * img[0, :, 1:3, 3].sum(1)) / 3
    tokens = model.encode_masks(masks, img)
    expected = model.encode_boxes(mask_boxes(masks), img)[0, 0] + model.masks_pool_project(mean)
    torch.testing.assert_close(tokens[0, 0], expected, atol=1e-5, rtol=1e-4)


def test_points_without_projections_are_refused() -> None:
    model = encoder(encode_points=False)
    prompts = GeometryPrompts(points=exemplars(torch.tensor([[[0.5, 0.5]]]), [[1]]))
    with pytest.raises(PromptError, match="give a box instead"):
        run(model, prompts, image())


def test_nothing_shown_gives_the_cls_token_alone() -> None:
    model, img = encoder(), image(2)
    tokens, valid = model(None, img, sine_position_2d(HEIGHT, WIDTH_CELLS, WIDTH))
    assert tokens.shape == (2, 1, WIDTH)
    assert valid.all()
    assert (tokens[0] - tokens[1]).abs().max() > 1e-3  # it looked at two images


def test_padding_changes_nothing() -> None:
    model, img = encoder(), image()
    alone = run(model, GeometryPrompts(boxes=exemplars(BOXES[:, :1], [[0]])), img)
    padded = run(model, GeometryPrompts(boxes=exemplars(BOXES, [[0, -1]])), img)
    assert alone.shape == (2, WIDTH)
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-4)


def test_order_of_exemplars_does_not_matter() -> None:
    model, img = encoder(), image()
    forth = run(model, GeometryPrompts(boxes=exemplars(BOXES, [[1, 0]])), img)
    back = run(model, GeometryPrompts(boxes=exemplars(BOXES.flip(1), [[0, 1]])), img)
    torch.testing.assert_close(back[[1, 0, 2]], forth, atol=1e-5, rtol=1e-4)


def two_masks() -> Tensor:
    masks = torch.zeros(1, 2, 12, 16)
    masks[0, 0, 3:6, 2:9] = masks[0, 1, 5:11, 8:14] = 1
    return masks


KINDS = {"points": BOXES[..., :2], "boxes": BOXES, "masks": two_masks()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_is_added_to_what_is_shown(kind: str) -> None:
    model, img = encoder(encode_masks=True), image()
    like, unlike = (
        model.embed(GeometryPrompts(**{kind: exemplars(KINDS[kind], [labels])}), img)[0]
        for labels in ([1, 1], [1, 0])
    )
    difference = model.label_embed.weight[1] - model.label_embed.weight[0]
    assert torch.equal(like[0, 0], unlike[0, 0])
    torch.testing.assert_close(like[0, 1] - unlike[0, 1], difference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_matter(kind: str) -> None:
    model, img = encoder(encode_masks=True), image()
    like, unlike = (
        run(model, GeometryPrompts(**{kind: exemplars(KINDS[kind], [labels])}), img)
        for labels in ([1, 1], [1, 0])
    )
    assert (like - unlike).abs().max() > 1e-2


def test_all_kinds_together() -> None:
    model, img = encoder(), image(2)
    masks = torch.zeros(2, 1, 12, 16)
    masks[..., 3:6, 2:9] = 1
    prompts = GeometryPrompts(
        points=exemplars(torch.rand(2, 2, 2), [[1, 0], [1, -1]]),
        boxes=exemplars(BOXES.expand(2, -1, -1), [[-1, -1], [0, 1]]),
        masks=exemplars(masks, [[1], [-1]]),
    )
    tokens, valid = model(prompts, img, sine_position_2d(HEIGHT, WIDTH_CELLS, WIDTH))
    expected = [[True, True, False, False, True, True], [True, False, True, True, False, True]]
    assert valid.tolist() == expected
    assert tokens.shape == (2, 6, WIDTH)
    assert tokens.isfinite().all()
