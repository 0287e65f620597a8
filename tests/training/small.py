"""Small truths and models for the tests of training."""

from __future__ import annotations

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
from maskstream.tracker.config import TrackerConfig
from training.data import DetectorBatch
from training.frames import MAX_TARGETS, TEMPLATE
from training.queries import MAX_BOXES, MAX_POINTS

SIDE = 64


def random_truth(generator: torch.Generator, counts: list[int]) -> DetectorBatch:
    """A batch of one frame with these numbers of targets; everything else is random or empty."""
    num, cells = len(counts), SIDE // 4
    masks = torch.rand(num, MAX_TARGETS, cells, cells, generator=generator)
    real = torch.arange(MAX_TARGETS) < torch.tensor(counts)[:, None]
    masks = (masks > 0.7).float() * real[..., None, None]
    return DetectorBatch(
        pixels=torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8),
        image_index=torch.zeros(num, dtype=torch.int64),
        input_ids=torch.zeros(num, 32, dtype=torch.int64),
        attention_mask=torch.ones(num, 32, dtype=torch.bool),
        boxes=torch.zeros(num, MAX_BOXES, 4),
        box_labels=torch.full((num, MAX_BOXES), -1),
        points=torch.zeros(num, MAX_POINTS, 2),
        point_labels=torch.full((num, MAX_POINTS), -1),
        target_boxes=torch.rand(num, MAX_TARGETS, 4, generator=generator) * 0.4 + 0.1,
        target_masks=masks,
        target_count=torch.tensor(counts),
        semantic=masks.amax(1),
        colors=torch.zeros(1, cells, cells, dtype=torch.int64),
        kinds=torch.zeros(1, cells, cells, dtype=torch.int64),
        edges=torch.zeros(1, 4, cells, cells),
        owners=torch.full((1, cells, cells), -1),
        stencils=torch.zeros(1, MAX_TARGETS, TEMPLATE * TEMPLATE),
        object_kinds=torch.full((1, MAX_TARGETS), -1),
        object_usable=torch.zeros(1, MAX_TARGETS, dtype=torch.bool),
        text_ids=torch.zeros(0, 32, dtype=torch.int64),
        text_lengths=torch.zeros(0, dtype=torch.int64),
        text_members=torch.zeros(0, 1, MAX_TARGETS, dtype=torch.bool),
    )


def small_detector_config(vocab_size: int) -> DetectorConfig:
    """Every part at its smallest, for 64-pixel images."""
    width, heads, wide = 16, 2, 32
    backbone = ViTConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE, patch_size=16, window_size=2, global_attn_indexes=(1,),
        pretrain_image_size=32,
    )  # fmt: skip
    shared = {
        "hidden_size": width, "num_attention_heads": heads, "intermediate_size": wide,
        "num_layers": 2, "dropout": 0.0,
    }  # fmt: skip
    return DetectorConfig(
        vision_config=VisionConfig(backbone_config=backbone, fpn_hidden_size=width),
        text_config=TextConfig(
            vocab_size=vocab_size, hidden_size=width, intermediate_size=wide, projection_dim=8,
            num_hidden_layers=1, num_attention_heads=heads,
        ),
        geometry_encoder_config=GeometryConfig(**shared),
        detr_encoder_config=FusionConfig(**shared),
        detr_decoder_config=DecoderConfig(**shared, num_queries=6),
        mask_decoder_config=MaskHeadConfig(hidden_size=width, num_attention_heads=heads),
        geometry_token_always=False,
    )  # fmt: skip


def small_tracker_config() -> TrackerConfig:
    """A tracker that fits :func:`small_detector_config`."""
    width = 16
    return TrackerConfig.from_dict(
        {
            "image_size": SIDE,
            "patch_size": 16,
            "fpn_hidden_size": width,
            "memory_attention_hidden_size": width,
            "memory_attention_num_layers": 1,
            "memory_attention_feed_forward_hidden_size": 32,
            "memory_attention_dropout": 0.0,
            "memory_attention_rope_dropout": 0.0,
            "memory_encoder_hidden_size": width,
            "memory_encoder_output_channels": 16,
            "mask_downsampler_embed_dim": width,
            "memory_fuser_embed_dim": width,
            "memory_fuser_intermediate_dim": 32,
            "prompt_encoder_config": {"hidden_size": width},
            "mask_decoder_config": {
                "hidden_size": width, "mlp_dim": 32, "num_attention_heads": 2,
                "iou_head_hidden_dim": 16,
            },
        }
    )  # fmt: skip
