"""Parity at the released model's widths and depths, on a smaller image.

0.85 billion parameters: both models hold the same tensors, filled once.
"""

from __future__ import annotations

import pytest
import torch

from maskstream.core.boxes import cxcywh_to_xyxy
from maskstream.detector.config import DetectorConfig
from maskstream.detector.prompts import ConceptBatch, Exemplars, GeometryPrompts
from tests.parity.reference import (
    TOLERANCE,
    Pair,
    build_shared_pair,
    full_size_config,
    relative_error,
    transformers_config,
)

IMAGE_SIZE = 224  # 16×16 patches: one padded window of 24×24 in 28 layers, global in 4


def test_the_preset_is_the_released_configuration() -> None:
    """Ours, transformers' defaults and configs/model/sam3.yaml describe one detector."""
    preset = DetectorConfig.from_dict(full_size_config(1008)["detector_config"])
    assert preset == DetectorConfig()
    assert preset == DetectorConfig.from_dict(transformers_config({}).detector_config.to_dict())


@pytest.mark.timeout(900)  # takes one minute on two idle cores
def test_full_size() -> None:
    pair = build_shared_pair(full_size_config(IMAGE_SIZE))
    reference, detector = pair.reference.detector_model, pair.detector
    assert sum(p.numel() for p in detector.parameters()) > 800_000_000

    pixels = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1
    vision = reference.get_vision_features(pixel_values=pixels)
    features = detector.encode_image(pixels, tracker=True)
    _check_vision(pair, vision, features)

    ids = torch.randint(1, 49406, (1, 32))
    ids[:, 6:] = 49407
    mask = (torch.arange(32) < 7).long()[None]
    boxes, labels = (
        torch.tensor([[[0.4, 0.5, 0.3, 0.4], [0.8, 0.2, 0.3, 0.2]]]),
        torch.tensor([[1, 0]]),
    )
    expected = reference(
        vision_embeds=vision,
        input_ids=ids,
        attention_mask=mask,
        input_boxes=boxes,
        input_boxes_labels=labels,
    )
    geometry = GeometryPrompts(boxes=Exemplars(boxes, labels, labels >= 0))
    text = detector.encode_text(ids, mask)
    output = detector(features, ConceptBatch(text, torch.zeros(1, dtype=torch.long), geometry))
    masks = detector.masks_of(output.queries[-1], output.pixels)

    assert relative_error(output.logits[-1], expected.pred_logits) <= TOLERANCE
    assert relative_error(cxcywh_to_xyxy(output.boxes[-1]), expected.pred_boxes) <= TOLERANCE
    assert (output.presence_logits[-1] - expected.presence_logits[:, 0]).abs().max() <= TOLERANCE
    assert relative_error(masks, expected.pred_masks) <= TOLERANCE
    assert relative_error(detector.semantic_map(output), expected.semantic_seg) <= TOLERANCE


def _check_vision(pair: Pair, vision, features) -> None:
    side = IMAGE_SIZE // 14
    grid = vision.last_hidden_state.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    tracker_levels, _ = pair.reference.tracker_neck(grid)
    assert vision.last_hidden_state.shape == (1, side * side, 1024)
    for own, level in zip(features.levels, vision.fpn_hidden_states[:3], strict=True):
        assert relative_error(own, level) <= TOLERANCE
    for own, level in zip(features.tracker_levels, tracker_levels[:3], strict=True):
        assert relative_error(own, level) <= TOLERANCE
