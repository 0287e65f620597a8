"""Our detector gives what transformers' ``Sam3Model`` gives, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from maskstream.core.boxes import cxcywh_to_xyxy
from maskstream.detector.model import Detector, DetectorOutput
from maskstream.detector.prompts import ConceptBatch, Exemplars, GeometryPrompts
from tests.parity.reference import (
    TOLERANCE,
    Pair,
    build_pair,
    detector_config,
    detector_weights,
    relative_error,
    tiny_config,
    watched,
)

NUM_IMAGES = 3


@dataclass(frozen=True, slots=True)
class Prompts:
    """One concept for each image: words of unlike length, and optionally boxes."""

    input_ids: Tensor
    attention_mask: Tensor
    boxes: Tensor | None = None
    labels: Tensor | None = None
    """(B, N): 1 like this, 0 not like this, -10 padding, as transformers writes it."""

    def for_transformers(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
        }
        if self.boxes is not None:
            values.update(input_boxes=self.boxes, input_boxes_labels=self.labels)
        return values

    def for_us(self, detector: Detector) -> ConceptBatch:
        geometry = None
        if self.boxes is not None and self.labels is not None:
            valid = self.labels != -10
            geometry = GeometryPrompts(boxes=Exemplars(self.boxes, self.labels * valid, valid))
        text = detector.encode_text(self.input_ids, self.attention_mask)
        return ConceptBatch(text, torch.arange(len(self.input_ids)), geometry)


def images(pair: Pair, count: int = NUM_IMAGES) -> Tensor:
    side = pair.detector.config.image_size
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def words(pair: Pair, count: int = NUM_IMAGES) -> Prompts:
    """A text of three tokens, one that fills the context, and some in between."""
    config = pair.detector.config.text_config
    length = config.max_position_embeddings
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, config.vocab_size - 2, (count, length), generator=generator)
    lengths = torch.tensor([3, length, 5, length // 2, 4, 7])[:count]
    mask = (torch.arange(length) < lengths[:, None]).long()
    end = config.vocab_size - 1  # the end token closes the words and, as in transformers, pads
    ids = torch.where(torch.arange(length) < lengths[:, None] - 1, ids, end)
    return Prompts(ids, mask)


def with_boxes(prompts: Prompts) -> Prompts:
    """Three boxes of both signs, one of them leaving the image; one box; two boxes."""
    pad = [0.0] * 4
    # No side is a whole multiple of a bin: there the last bit decides how many samples are taken.
    boxes = [
        [[0.4, 0.5, 0.31, 0.43], [0.9, 0.2, 0.41, 0.23], [0.3, 0.3, 0.02, 0.91]],
        [[0.5, 0.5, 1.0, 1.0], pad, pad],
        [[0.2, 0.7, 0.13, 0.22], [0.6, 0.6, 0.52, 0.33], pad],
    ]
    labels = [[1, 0, 1], [0, -10, -10], [1, 1, -10]]
    return replace(prompts, boxes=torch.tensor(boxes), labels=torch.tensor(labels))


@pytest.fixture(params=["words", "words_and_boxes"])
def prompts(request: pytest.FixtureRequest, pair: Pair) -> Prompts:
    given = words(pair)
    return given if request.param == "words" else with_boxes(given)


def run_both(
    pair: Pair, pixels: Tensor, prompts: Prompts
) -> tuple[Any, DetectorOutput, dict, dict]:
    """Both models' outputs, and those of their parts."""
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    reference, detector = pair.reference.detector_model, pair.detector
    names = ("geometry_encoder", "detr_encoder", "detr_decoder")
    with watched(theirs, **{n: getattr(reference, n) for n in names}):
        expected = reference(pixel_values=pixels, **prompts.for_transformers())
    with watched(ours, **{n: getattr(detector, n) for n in names}):
        output = detector(detector.encode_image(pixels), prompts.for_us(detector))
    return expected, output, theirs, ours


def test_vision_features_of_both_branches(pair: Pair) -> None:
    pixels = images(pair)
    vision = pair.reference.detector_model.get_vision_features(pixel_values=pixels)
    features = pair.detector.encode_image(pixels, tracker=True)

    side = pair.detector.config.vision_config.backbone_config.grid_size
    grid = vision.last_hidden_state.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    tracker_levels, _ = pair.reference.tracker_neck(grid)

    assert features.tracker_levels is not None
    for own, level in zip(features.levels, vision.fpn_hidden_states[:3], strict=True):
        assert relative_error(own, level) <= TOLERANCE
    for own, level in zip(features.tracker_levels, tracker_levels[:3], strict=True):
        assert relative_error(own, level) <= TOLERANCE
    assert relative_error(features.tracker_levels[0], features.levels[0]) > 0.1


def test_tracker_branch_as_the_video_model_uses_it(pair: Pair) -> None:
    pixels = images(pair, 1)
    vision = pair.reference.detector_model.get_vision_features(pixel_values=pixels)
    expected, _ = pair.reference.get_vision_features_for_tracker(vision_embeds=vision)
    features = pair.detector.encode_image(pixels, tracker=True).tracker_features(0)

    head = pair.reference.tracker_model.mask_decoder
    fine, middle, coarse = features.levels
    projected = head.conv_s0(fine), head.conv_s1(middle), coarse
    for own, level in zip(projected, expected, strict=True):
        assert relative_error(own.flatten(2).permute(2, 0, 1), level) <= TOLERANCE


def test_text_tokens(pair: Pair) -> None:
    prompts = words(pair, 6)
    expected = pair.reference.detector_model.get_text_features(
        input_ids=prompts.input_ids, attention_mask=prompts.attention_mask
    ).pooler_output
    text = pair.detector.encode_text(prompts.input_ids, prompts.attention_mask)

    assert torch.equal(text.valid.sum(1), prompts.attention_mask.sum(1))
    theirs = expected[prompts.attention_mask.bool()]
    assert relative_error(text.tokens[text.valid], theirs) <= TOLERANCE


def test_geometry_tokens(pair: Pair) -> None:
    _, _, theirs, ours = run_both(pair, images(pair), with_boxes(words(pair)))
    expected = theirs["geometry_encoder"]
    tokens, valid = ours["geometry_encoder"]

    assert torch.equal(valid.sum(1), expected.attention_mask.sum(1))
    # transformers puts the CLS token behind the last real box, we put it behind the padding.
    assert relative_error(tokens[valid], expected.last_hidden_state[expected.attention_mask]) <= (
        TOLERANCE
    )


def test_fusion_and_decoder(pair: Pair, prompts: Prompts) -> None:
    expected, output, theirs, ours = run_both(pair, images(pair), prompts)

    fused = theirs["detr_encoder"].last_hidden_state
    assert relative_error(ours["detr_encoder"], fused) <= TOLERANCE
    queries = theirs["detr_decoder"].intermediate_hidden_states[-1]
    assert relative_error(output.queries[-1], queries) <= TOLERANCE
    assert relative_error(cxcywh_to_xyxy(output.boxes[-1]), expected.pred_boxes) <= TOLERANCE
    assert relative_error(output.logits[-1], expected.pred_logits) <= TOLERANCE
    presence = expected.presence_logits.squeeze(-1)
    assert relative_error(output.presence_logits[-1], presence) <= TOLERANCE


def test_masks_and_semantic_map(pair: Pair, prompts: Prompts) -> None:
    expected, output, _, _ = run_both(pair, images(pair), prompts)
    masks = pair.detector.masks_of(output.queries[-1], output.pixels)

    assert relative_error(masks, expected.pred_masks) <= TOLERANCE
    assert relative_error(pair.detector.semantic_map(output), expected.semantic_seg) <= TOLERANCE


def test_every_layer_in_training(pair: Pair) -> None:
    """The one-to-one half of the training output is transformers' output of every layer."""
    pixels, prompts = images(pair), words(pair)
    expected, _, theirs, _ = run_both(pair, pixels, prompts)
    decoded = theirs["detr_decoder"]
    detector = Detector(pair.detector.config)
    detector.load_state_dict(pair.detector.state_dict())
    detector.train()
    for module in detector.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        output = detector(detector.encode_image(pixels), prompts.for_us(detector))

    assert len(output.queries) == len(decoded.intermediate_hidden_states)
    assert relative_error(output.queries, decoded.intermediate_hidden_states) <= TOLERANCE
    assert relative_error(output.boxes[:-1], decoded.reference_boxes[1:]) <= TOLERANCE
    presence = decoded.presence_logits.squeeze(-1)
    assert relative_error(output.presence_logits, presence) <= TOLERANCE
    assert relative_error(cxcywh_to_xyxy(output.boxes[-1]), expected.pred_boxes) <= TOLERANCE


def test_geometry_token_without_geometry(pair: Pair) -> None:
    """The original's CLS token is what transformers gives for a box that is only padding."""
    pixels, prompts = images(pair), words(pair)
    padding = replace(
        prompts,
        boxes=torch.full((NUM_IMAGES, 1, 4), 0.5),
        labels=torch.full((NUM_IMAGES, 1), -10),
    )
    expected = pair.reference.detector_model(pixel_values=pixels, **padding.for_transformers())
    detector = Detector(replace(pair.detector.config, geometry_token_always=True)).eval()
    detector.load_state_dict(pair.detector.state_dict())
    with torch.no_grad():
        output = detector(detector.encode_image(pixels), prompts.for_us(detector))
        without = pair.detector(pair.detector.encode_image(pixels), prompts.for_us(detector))

    assert relative_error(output.logits[-1], expected.pred_logits) <= TOLERANCE
    assert relative_error(cxcywh_to_xyxy(output.boxes[-1]), expected.pred_boxes) <= TOLERANCE
    masks = detector.masks_of(output.queries[-1], output.pixels)
    assert relative_error(masks, expected.pred_masks) <= TOLERANCE
    assert relative_error(without.logits[-1], expected.pred_logits) > 10 * TOLERANCE


def test_many_concepts_of_one_image_as_one_by_one(pair: Pair) -> None:
    """Words and exemplars mixed in one batch over one ViT pass."""
    pixels = images(pair, 1)
    prompts = words(pair, 6)
    boxes = with_boxes(words(pair))
    labels = torch.full((6, 3), -10)
    values = torch.zeros(6, 3, 4)
    labels[2:5], values[2:5] = boxes.labels, boxes.boxes
    reference, detector = pair.reference.detector_model, pair.detector
    vision = reference.get_vision_features(pixel_values=pixels)

    batch = replace(prompts, boxes=values, labels=labels).for_us(detector)
    batch = replace(batch, image_index=torch.zeros(6, dtype=torch.long))
    output = detector(detector.encode_image(pixels), batch)
    masks = detector.masks_of(output.queries[-1], output.pixels)
    for k in range(6):
        one = Prompts(prompts.input_ids[k : k + 1], prompts.attention_mask[k : k + 1])
        if 2 <= k < 5:
            count = int((labels[k] != -10).sum())
            one = replace(one, boxes=values[k : k + 1, :count], labels=labels[k : k + 1, :count])
        expected = reference(vision_embeds=vision, **one.for_transformers())
        assert relative_error(output.logits[-1, k], expected.pred_logits[0]) <= TOLERANCE
        own_boxes = cxcywh_to_xyxy(output.boxes[-1, k])
        assert relative_error(own_boxes, expected.pred_boxes[0]) <= TOLERANCE
        assert relative_error(masks[k], expected.pred_masks[0]) <= TOLERANCE


def test_a_wrong_weight_is_seen() -> None:
    """The comparison can fail: one perturbed tensor deep inside breaks it."""
    pair = build_pair(tiny_config(), seed=3)
    prompts = with_boxes(words(pair))
    pair.reference.detector_model.geometry_encoder.label_embed.weight[0] += 0.1
    expected, output, _, _ = run_both(pair, images(pair), prompts)
    assert relative_error(output.logits[-1], expected.pred_logits) > TOLERANCE


def test_weights_load_strictly_both_ways() -> None:
    pair = build_pair(tiny_config(), seed=4)
    detector = Detector(detector_config(tiny_config()))
    weights = detector_weights(pair.reference)
    assert set(weights) == set(detector.state_dict())
