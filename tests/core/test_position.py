"""Position encodings against their formulas, value by value, and transformers' module."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.models.sam3.modeling_sam3 import Sam3SinePositionEmbedding

from maskstream.core.position import (
    axial_rope,
    axial_turns,
    sine_encode,
    sine_frequencies,
    sine_position_2d,
    sine_position_boxes,
    turn_pairs,
)


def test_sine_encoding_by_its_formula() -> None:
    positions = torch.tensor([[0.0, 0.3], [2.0, 6.28]])
    code = sine_encode(positions, 6)
    assert code.shape == (2, 2, 6)
    for row in range(2):
        for column in range(2):
            for pair in range(3):
                angle = positions[row, column].item() / 10000 ** (2 * pair / 6)
                found = code[row, column, 2 * pair : 2 * pair + 2].tolist()
                assert found == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)


def test_divisors_stand_twice_and_rise() -> None:
    divisors = sine_frequencies(8, dtype=torch.float64)
    assert divisors.tolist() == pytest.approx([10000 ** (p / 4) for p in (0, 0, 1, 1, 2, 2, 3, 3)])


@pytest.mark.parametrize(("height", "width", "dim"), [(3, 5, 16), (1, 1, 8), (6, 4, 32)])
def test_grid_as_transformers_has_it(height: int, width: int, dim: int) -> None:
    reference = Sam3SinePositionEmbedding(dim // 2, normalize=True)
    expected = reference((1, dim, height, width), torch.device("cpu"), torch.float32)
    code = sine_position_2d(height, width, dim)
    assert code.shape == (1, dim, height, width)
    assert torch.allclose(code, expected[:1], atol=1e-5)


def test_grid_has_y_in_the_first_half_and_ends_at_a_full_turn() -> None:
    code = sine_position_2d(4, 6, 8)[0]
    assert torch.equal(code[:4, :, :1].expand(4, 4, 6), code[:4])
    assert torch.equal(code[4:, :1, :].expand(4, 4, 6), code[4:])
    assert code[0, 3, 0].item() == pytest.approx(math.sin(2 * math.pi), abs=1e-5)
    assert code[0, 0, 0].item() == pytest.approx(math.sin(2 * math.pi / 4), abs=1e-5)
    assert code[5, 0, 0].item() == pytest.approx(math.cos(2 * math.pi / 6), abs=1e-5)


def test_grid_in_another_dtype() -> None:
    assert torch.equal(
        sine_position_2d(3, 3, 8, dtype=torch.bfloat16), sine_position_2d(3, 3, 8).bfloat16()
    )


@pytest.mark.parametrize("table", ["sine", "rope", "turns"])
def test_tables_first_made_for_inference_serve_training(table: str) -> None:
    """Sizes that no other test asks for, so that the tables are made here."""
    with torch.inference_mode():
        made = {
            "sine": lambda: sine_position_2d(7, 11, 8),
            "rope": lambda: axial_rope(7, 11, 8)[0],
            "turns": lambda: axial_turns(7, 11, 8),
        }[table]()
    assert not made.is_inference()
    weight = torch.ones((), requires_grad=True)
    (weight * made).abs().sum().backward()
    assert weight.grad is not None


def test_boxes_are_encoded_as_cy_cx_w_h() -> None:
    boxes = torch.rand(2, 3, 4)
    code = sine_position_boxes(boxes, 12)
    assert code.shape == (2, 3, 24)
    for place, axis in enumerate((1, 0, 2, 3)):
        expected = sine_encode(boxes[..., axis] * 2 * math.pi, 6)
        assert torch.allclose(code[..., 6 * place : 6 * place + 6], expected, atol=1e-5)


def test_rope_by_its_formula() -> None:
    height, width, head_dim, theta, scale = 3, 4, 8, 100.0, 0.5
    cos, sin = axial_rope(height, width, head_dim, theta, scale)
    assert cos.shape == sin.shape == (12, 8)
    for y in range(height):
        for x in range(width):
            for channel in range(head_dim):
                position = x if channel < 4 else y
                pair = (channel % 4) // 2
                angle = position * scale / theta ** (2 * pair / 4)
                assert cos[y * width + x, channel].item() == pytest.approx(math.cos(angle))
                assert sin[y * width + x, channel].item() == pytest.approx(
                    math.sin(angle), abs=1e-6
                )


def test_turning_is_a_rotation_of_neighbouring_channels() -> None:
    cos, sin = axial_rope(3, 4, 8, 100.0)
    values = torch.randn(2, 5, 12, 8)
    turned = turn_pairs(values, axial_turns(3, 4, 8, 100.0))
    partner = torch.stack((-values[..., 1::2], values[..., 0::2]), dim=-1).flatten(-2)
    assert torch.allclose(turned, values * cos + partner * sin, atol=1e-6)
    assert torch.allclose(turned.norm(dim=-1), values.norm(dim=-1), atol=1e-5)


def test_products_depend_on_the_difference_of_places_only() -> None:
    height, width = 5, 6
    query, key = torch.randn(8), torch.randn(8)
    turns = axial_turns(height, width, 8, 50.0)
    queries = turn_pairs(query.expand(height * width, 8), turns).view(height, width, 8)
    keys = turn_pairs(key.expand(height * width, 8), turns).view(height, width, 8)
    products = (queries[:-2, :-1] * keys[2:, 1:]).sum(-1)
    assert torch.allclose(products, products[0, 0].expand_as(products), atol=1e-4)
    elsewhere = (queries[:-1, :-2] * keys[1:, 2:]).sum(-1)
    assert not torch.allclose(elsewhere[0, 0], products[0, 0], atol=1e-3)


def test_turning_keeps_the_dtype() -> None:
    values = torch.randn(12, 8).bfloat16()
    turns = axial_turns(3, 4, 8)
    assert turn_pairs(values, turns).dtype == torch.bfloat16
    assert torch.equal(turn_pairs(values, turns), turn_pairs(values.float(), turns).bfloat16())
