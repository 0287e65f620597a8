from __future__ import annotations

import torch

from maskstream.detector.checkpoint import OPTIONAL, PREFIXES, to_checkpoint, to_module
from maskstream.detector.model import Detector
from tests.detector.small import CONFIG, small_detector

ATTENTION = "vision_encoder.backbone.layers.1.attention."


def test_there_and_back() -> None:
    weights = small_detector().state_dict()
    tensors = to_checkpoint(weights)
    assert all(name.startswith(PREFIXES) for name in tensors)
    assert not [name for name in tensors if "qkv_proj" in name]
    back = to_module(tensors)
    assert set(back) == set(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    Detector(CONFIG).load_state_dict(back, strict=True)


def test_projections_are_stacked_query_key_value() -> None:
    weights = small_detector().state_dict()
    tensors = to_checkpoint(weights)
    fused = weights[f"{ATTENTION}qkv_proj.weight"]
    size = fused.shape[1]
    for index, letter in enumerate("qkv"):
        part = tensors[f"detector_model.{ATTENTION}{letter}_proj.weight"]
        assert torch.equal(part, fused[index * size : (index + 1) * size])


def test_a_missing_part_keeps_its_own_name() -> None:
    tensors = to_checkpoint(small_detector().state_dict())
    del tensors[f"detector_model.{ATTENTION}k_proj.bias"]
    back = to_module(tensors)
    assert f"{ATTENTION}qkv_proj.bias" not in back
    assert f"{ATTENTION}q_proj.bias" in back
    assert f"{ATTENTION}v_proj.bias" in back


def test_the_trackers_neck_keeps_its_name() -> None:
    tensors = to_checkpoint(small_detector().state_dict())
    assert "tracker_neck.fpn_layers.0.proj1.weight" in tensors
    assert "tracker_neck.fpn_layers.0.proj1.weight" in to_module(tensors)


def test_optional_parts_are_in_the_module() -> None:
    names = list(small_detector().state_dict())
    assert any(name.startswith(OPTIONAL) for name in names)
