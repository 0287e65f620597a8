"""A SAM 3.1 that is as small as it gets, with the embedded model's detector."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from maskstream.core.checkpoint import read_config, read_tensors, resolve_checkpoint, write_folder
from maskstream.core.checkpoint_folder import MULTIPLEX_MODEL_TYPE, read_companions
from maskstream.tracker.config import MaskDecoderConfig, PromptEncoderConfig
from maskstream.tracker.network.multiplex.config import MultiplexConfig
from maskstream.tracker.network.multiplex.model import MultiplexModel


def small_config(image_size: int, patch_size: int, hidden: int) -> MultiplexConfig:
    return MultiplexConfig(
        image_size=image_size,
        patch_size=patch_size,
        fpn_hidden_size=hidden,
        prompt_encoder_config=PromptEncoderConfig(
            hidden_size=hidden, image_size=image_size, patch_size=patch_size
        ),
        mask_decoder_config=MaskDecoderConfig(
            hidden_size=hidden, mlp_dim=48, num_attention_heads=4, iou_head_hidden_dim=24
        ),
        memory_attention_num_layers=1,
        memory_attention_num_attention_heads=4,
        memory_attention_feed_forward_hidden_size=48,
        mask_downsampler_channels=4,
        memory_fuser_num_layers=1,
        memory_fuser_intermediate_dim=48,
    )


@torch.no_grad()
def small_model(image_size: int = 56, patch_size: int = 14, hidden: int = 32) -> MultiplexModel:
    """Random weights; objects are always there."""
    torch.manual_seed(0)
    model = MultiplexModel(small_config(image_size, patch_size, hidden)).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and not parameter.any():
            parameter.normal_(std=0.5)
        elif name.endswith("scale"):
            parameter.fill_(0.1)
    head = model.mask_decoder.pred_obj_score_head.proj_out
    head.weight.zero_()
    head.bias.fill_(3.0)
    return model.requires_grad_(False)


def small_folder(folder: Path) -> Path:
    """A checkpoint folder: the embedded detector, a third neck like its second, a small tracker."""
    source = resolve_checkpoint("tiny")
    config = read_config(source)
    tensors = read_tensors(source, ("detector_model.", "tracker_neck."))
    tensors |= {
        name.replace("tracker_neck.", "interactive_neck."): tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith("tracker_neck.")
    }
    vision = config["detector_config"]["vision_config"]
    backbone = vision["backbone_config"]
    size, patch = backbone["image_size"], backbone["patch_size"]
    model = small_model(size, patch, vision["fpn_hidden_size"])
    tensors |= {f"tracker_model.{k}": v for k, v in model.state_dict().items()}
    config["model_type"] = MULTIPLEX_MODEL_TYPE
    config.pop("architectures", None)
    config["detector_config"]["interactive_neck"] = True
    config["tracker_config"] = json.loads(json.dumps(model.config.to_dict()))
    return write_folder(folder, config, tensors, read_companions(source))
