"""A detector small enough to run in milliseconds, with weights that do something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from maskstream.detector.config import (
    DecoderConfig,
    DetectorConfig,
    FusionConfig,
    GeometryConfig,
    MaskHeadConfig,
    TextConfig,
    VisionConfig,
    ViTConfig,
)
from maskstream.detector.model import Detector
from maskstream.detector.prompts import PromptTokens
from tests.support import randomised

WIDTH = 16
IMAGE_SIZE = 64
VIT = ViTConfig(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=IMAGE_SIZE,
    patch_size=8,
    window_size=3,
    global_attn_indexes=(1,),
    pretrain_image_size=40,
)
TEXT = TextConfig(
    vocab_size=60,
    hidden_size=24,
    intermediate_size=32,
    projection_dim=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=32,
)
GEOMETRY = GeometryConfig(
    hidden_size=WIDTH, num_layers=2, num_attention_heads=2, intermediate_size=24, dropout=0.0
)
FUSION = FusionConfig(
    hidden_size=WIDTH, num_layers=2, num_attention_heads=2, intermediate_size=24, dropout=0.0
)
DECODER = DecoderConfig(
    hidden_size=WIDTH,
    num_layers=3,
    num_queries=7,
    num_attention_heads=2,
    intermediate_size=24,
    dropout=0.0,
)
CONFIG = DetectorConfig(
    vision_config=VisionConfig(backbone_config=VIT, fpn_hidden_size=WIDTH),
    text_config=TEXT,
    geometry_encoder_config=GEOMETRY,
    detr_encoder_config=FUSION,
    detr_decoder_config=DECODER,
    mask_decoder_config=MaskHeadConfig(hidden_size=WIDTH, num_attention_heads=2),
)


def small_detector(seed: int = 0, **changes: Any) -> Detector:
    """A detector in eval mode, without gradients; ``changes`` go to the configuration."""
    detector = Detector(replace(CONFIG, **changes))
    randomised(detector, seed)
    return detector.eval().requires_grad_(False)


def random_images(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1


def random_text(detector: Detector, lengths: list[int]) -> PromptTokens:
    """Encoded random words, one text for each length in tokens."""
    ids = torch.randint(0, TEXT.vocab_size, (len(lengths), TEXT.max_position_embeddings))
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    return detector.encode_text(ids, mask)
