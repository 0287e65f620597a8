from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from maskstream.core.errors import ConfigError
from maskstream.detector.config import DetectorConfig, TextConfig, VisionConfig, ViTConfig
from tests.detector.small import CONFIG

MODELS = Path(__file__).parents[2] / "configs" / "model"


def test_goes_through_json() -> None:
    written = json.loads(json.dumps(CONFIG.to_dict()))
    assert DetectorConfig.from_dict(written) == CONFIG


def test_defaults_are_the_released_model() -> None:
    config = DetectorConfig()
    backbone = config.vision_config.backbone_config
    assert (backbone.grid_size, config.image_size, config.hidden_size) == (72, 1008, 256)
    assert backbone.global_attn_indexes == (7, 15, 23, 31)
    assert config.detr_decoder_config.num_queries == 200
    assert config.geometry_token_always
    assert not config.detr_encoder_config.add_pooled_text


@pytest.mark.parametrize("name", ["sam3", "tiny"])
def test_presets_are_read(name: str) -> None:
    preset = yaml.safe_load((MODELS / f"{name}.yaml").read_text())["detector_config"]
    config = DetectorConfig.from_dict(preset)
    if name == "sam3":
        assert config == DetectorConfig()
    else:
        assert config.vision_config.backbone_config.grid_size == 16
        assert config.text_config == TextConfig(**{
            key: value for key, value in preset["text_config"].items()
            if key in TextConfig.__dataclass_fields__
        })  # fmt: skip


def test_reads_what_transformers_writes() -> None:
    config = ViTConfig.from_dict(
        {
            "image_size": [224, 224],
            "patch_size": 14,
            "global_attn_indexes": [1, 2],
            "rope_parameters": {"rope_type": "axial", "rope_theta": 500.0},
            "attention_dropout": 0.0,
            "hidden_act": None,
        }
    )
    assert config == ViTConfig(image_size=224, global_attn_indexes=(1, 2), rope_theta=500.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"vision_config": {"backbone_config": {"image_size": 1000}}},
            "image_size 1000 must be a multiple of patch_size 14",
        ),
        (
            {"vision_config": {"backbone_config": {"hidden_size": 1000}}},
            "hidden_size 1000 must be a multiple",
        ),
        (
            {"vision_config": {"backbone_config": {"layer_scale_init_value": 0.1}}},
            "layer_scale_init_value must be null",
        ),
        ({"vision_config": {"scale_factors": [2.0, 1.0]}}, "scale_factors must be 4, 2, 1 and 0.5"),
        ({"detr_decoder_config": {"hidden_size": 128}}, "sizes must be equal"),
        ({"text_config": ["hidden_size"]}, "text_config must be a mapping, not list"),
    ],
)
def test_contradictions_are_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DetectorConfig.from_dict(data)


def test_null_means_default() -> None:
    assert VisionConfig.from_dict({"fpn_hidden_size": None}) == VisionConfig()
