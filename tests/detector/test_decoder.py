from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maskstream.core.errors import ConfigError
from maskstream.detector.decoder import (
    MAX_CLASS_LOGIT,
    MAX_PRESENCE_LOGIT,
    Decoder,
    DecoderLayer,
    DecoderOutput,
    DotProductScoring,
    Mlp,
    inverse_sigmoid,
)
from tests.detector.small import DECODER, WIDTH
from tests.support import randomised

SIZE = (3, 4)
NUM_CONCEPTS = 2
NUM_QUERIES = DECODER.num_queries


def decoder(training: bool = False) -> Decoder:
    model = Decoder(DECODER)
    randomised(model)
    return model.train(training).requires_grad_(False)


def inputs() -> tuple[Tensor, Tensor, tuple[int, int], Tensor, Tensor]:
    image = torch.randn(NUM_CONCEPTS, SIZE[0] * SIZE[1], WIDTH)
    position = torch.randn(1, SIZE[0] * SIZE[1], WIDTH)
    prompt = torch.randn(NUM_CONCEPTS, 4, WIDTH)
    valid = torch.arange(4) < torch.tensor([[4], [2]])
    return image, position, SIZE, prompt, valid


def test_inverse_sigmoid() -> None:
    x = torch.tensor([-2.0, 0.0, 0.2, 0.5, 1.0, 3.0])
    limit = math.log(1 / 1e-3)
    expected = torch.tensor([-limit, -limit, math.log(0.25), 0.0, limit, limit])
    torch.testing.assert_close(inverse_sigmoid(x), expected)


def test_an_mlp_has_two_or_three_layers() -> None:
    with pytest.raises(ConfigError, match="2 or 3 layers, not 4"):
        Mlp(2, 2, 2, 4)


def test_box_bias_by_hand() -> None:
    model = decoder()
    boxes = torch.rand(NUM_CONCEPTS, 3, 4)
    bias = model.box_bias(boxes, *SIZE)
    assert bias.shape == (NUM_CONCEPTS, DECODER.num_attention_heads, 4, SIZE[0] * SIZE[1])
    assert bias[:, :, 0].abs().max() == 0

    def compressed(delta: float) -> float:
        return math.copysign(math.log2(abs(8 * delta) + 1) / 3, delta)

    for k, q in [(0, 0), (1, 2)]:
        cx, cy, w, h = boxes[k, q].tolist()
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                x, y = column / SIZE[1], row / SIZE[0]
                across = [compressed(x - (cx - w / 2)), compressed(x - (cx + w / 2))]
                down = [compressed(y - (cy - h / 2)), compressed(y - (cy + h / 2))]
                expected = model.box_rpb_embed_x(torch.tensor(across)) + model.box_rpb_embed_y(
                    torch.tensor(down)
                )
                found = bias[k, :, 1 + q, row * SIZE[1] + column]
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_outside_training_there_is_one_layer_and_one_half() -> None:
    output = decoder()(*inputs())
    assert output.queries.shape == (1, NUM_CONCEPTS, NUM_QUERIES, WIDTH)
    assert output.boxes.shape == (1, NUM_CONCEPTS, NUM_QUERIES, 4)
    assert output.presence_logits.shape == (1, NUM_CONCEPTS)


def test_training_keeps_every_layer_and_a_second_half() -> None:
    given = inputs()
    output, plain = decoder(training=True)(*given), decoder()(*given)
    layers = DECODER.num_layers
    assert output.queries.shape == (layers, NUM_CONCEPTS, 2 * NUM_QUERIES, WIDTH)
    assert output.presence_logits.shape == (layers, NUM_CONCEPTS)
    # What is trained one-to-one is what runs later.
    for name in ("queries", "boxes"):
        trained = getattr(output, name)[-1, :, :NUM_QUERIES]
        torch.testing.assert_close(trained, getattr(plain, name)[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.presence_logits[-1:], plain.presence_logits)


def lone_queries(model: Decoder, given: tuple) -> DecoderOutput:
    """The same queries without self-attention, one after another, from the layers' parts."""
    image, position, size, prompt, valid = given
    x = model.query_embed.weight.expand(NUM_CONCEPTS, -1, -1)
    boxes = model.reference_points.weight.sigmoid().expand(NUM_CONCEPTS, -1, -1)
    all_queries, all_boxes = [], []
    for layer in model.layers:
        x = layer.self_attn_layer_norm(x)
        place = model.query_position(boxes)[:, 1:]
        bias = model.box_bias(boxes, *size)[:, :, 1:]
        for attention, norm, key, value, mask in (
            (layer.text_cross_attn, layer.text_cross_attn_layer_norm, prompt, prompt,
             valid[:, None, None]),
            (layer.vision_cross_attn, layer.vision_cross_attn_layer_norm, image + position, image,
             bias),
        ):  # fmt: skip
            x = norm(x + attention(x + place, key, value, mask))
        x = layer.mlp_layer_norm(x + layer.mlp(x))
        normed = model.output_layer_norm(x)
        boxes = (model.box_head(normed) + inverse_sigmoid(boxes)).sigmoid()
        all_queries.append(normed)
        all_boxes.append(boxes)
    return DecoderOutput(torch.stack(all_queries), torch.stack(all_boxes), torch.empty(0))


def test_the_second_half_is_the_queries_without_self_attention() -> None:
    model, given = decoder(training=True), inputs()
    output, expected = model(*given), lone_queries(model, given)
    queries, boxes = output.queries[:, :, NUM_QUERIES:], output.boxes[:, :, NUM_QUERIES:]
    torch.testing.assert_close(queries, expected.queries, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(boxes, expected.boxes, atol=1e-4, rtol=1e-4)
    assert (queries - output.queries[:, :, :NUM_QUERIES]).abs().max() > 0.1


def test_boxes_pass_no_gradient_from_layer_to_layer() -> None:
    """A box's gradient reaches the box head through its own refinement alone."""
    model = decoder(training=True).requires_grad_(True)
    output = model(*inputs())
    output.boxes[1].sum().backward()
    moved = output.boxes[1].detach()
    expected = (moved * (1 - moved)).sum((0, 1))
    torch.testing.assert_close(model.box_head.layer3.bias.grad, expected)


def test_presence_is_bounded() -> None:
    model = decoder()
    model.presence_head.layer3.bias.fill_(1e4)
    assert model.presence(torch.randn(3, WIDTH)).tolist() == [MAX_PRESENCE_LOGIT] * 3


def test_concepts_do_not_mix() -> None:
    model, given = decoder(), inputs()
    image, position, size, prompt, valid = given
    output = model(*given)
    alone = model(image[1:], position, size, prompt[1:], valid[1:])
    torch.testing.assert_close(output.boxes[:, 1:], alone.boxes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.queries[:, 1:], alone.queries, atol=1e-5, rtol=1e-4)


def test_dropout_acts_in_training_only() -> None:
    layer = DecoderLayer(replace(DECODER, dropout=0.5))
    x, position = torch.randn(1, 4, WIDTH), torch.randn(1, 4, WIDTH)
    layer.eval()
    assert torch.equal(layer.look_around(x, position, 4), layer.look_around(x, position, 4))
    layer.train()
    assert not torch.equal(layer.look_around(x, position, 4), layer.look_around(x, position, 4))


def test_scores_by_hand() -> None:
    scoring = DotProductScoring(DECODER)
    randomised(scoring)
    scoring.eval().requires_grad_(False)
    queries, prompt = torch.randn(2, 3, 5, WIDTH), torch.randn(3, 4, WIDTH)
    valid = torch.arange(4) < torch.tensor([[4], [1], [2]])
    logits = scoring(queries, prompt, valid)
    for k in range(3):
        tokens = prompt[k, : int(valid[k].sum())]
        adapted = functional.layer_norm(
            scoring.text_mlp(tokens) + tokens,
            (WIDTH,),
            scoring.text_mlp_out_norm.weight,
            scoring.text_mlp_out_norm.bias,
        )
        pooled = scoring.text_proj(adapted.mean(0))
        expected = (scoring.query_proj(queries[:, k]) * pooled).sum(-1) / math.sqrt(WIDTH)
        torch.testing.assert_close(logits[:, k], expected, atol=1e-5, rtol=1e-4)


def test_scores_are_bounded() -> None:
    scoring = DotProductScoring(DECODER)
    randomised(scoring)
    prompt = torch.randn(1, 2, WIDTH)
    logits = scoring.eval()(1e4 * torch.randn(1, 1, 20, WIDTH), prompt, prompt[..., 0] < 9)
    assert logits.min() == -MAX_CLASS_LOGIT
    assert logits.max() == MAX_CLASS_LOGIT
