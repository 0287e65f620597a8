"""The reference tracker (transformers) with random weights, and ours with the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import (
    Sam3TrackerVideoConfig,
    Sam3TrackerVideoInferenceSession,
    Sam3TrackerVideoModel,
)
from transformers.models.sam3.modeling_sam3 import Sam3SinePositionEmbedding

from maskstream.core.types import TrackerFeatures
from maskstream.tracker.config import MaskDecoderConfig, PromptEncoderConfig, TrackerConfig
from maskstream.tracker.network.model import TrackerModel


def tracker_config(
    *,
    cells: int = 6,
    patch_size: int = 14,
    hidden: int = 128,
    wide: int = 96,
    decoder: dict[str, Any] | None = None,
    **changes: Any,
) -> TrackerConfig:
    """A small configuration with every width following from ``hidden`` and ``wide``."""
    image_size = cells * patch_size
    values: dict[str, Any] = {
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": wide,
        "memory_fuser_intermediate_dim": wide,
        **changes,
    }
    return TrackerConfig(
        image_size=image_size,
        patch_size=patch_size,
        fpn_hidden_size=hidden,
        prompt_encoder_config=PromptEncoderConfig(
            hidden_size=hidden, image_size=image_size, patch_size=patch_size
        ),
        mask_decoder_config=MaskDecoderConfig(
            **{"hidden_size": hidden, "mlp_dim": wide, "iou_head_hidden_dim": hidden}
            | (decoder or {})
        ),
        memory_attention_hidden_size=hidden,
        memory_encoder_hidden_size=hidden,
        mask_downsampler_embed_dim=hidden,
        memory_fuser_embed_dim=hidden,
        **values,
    )


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Give every parameter a random value, those that start at zero or one too."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            value.copy_(1 + 0.2 * noise)
        elif name.endswith("bias") or name.endswith("embedding_parameter"):
            value.copy_(0.2 * noise)
        elif "embed" in name or "token.weight" in name or "tokens" in name:
            value.copy_(noise)
        elif value.dim() >= 2:
            fan_in = value[0].numel() if value.shape[0] > 1 else value.shape[-1]
            value.copy_(noise * (1.5 / fan_in) ** 0.5)
        else:
            value.copy_(0.5 * noise)


def build_pair(config: TrackerConfig, seed: int) -> tuple[Sam3TrackerVideoModel, TrackerModel]:
    """The reference and our model with the same random weights, ready for inference."""
    reference_config = Sam3TrackerVideoConfig(**config.to_dict())
    reference = Sam3TrackerVideoModel(reference_config, remove_vision_encoder=True).eval()
    randomise(reference, seed)
    ours = TrackerModel(config).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    return reference, ours


def random_video(config: TrackerConfig, num_frames: int, seed: int) -> list[TrackerFeatures]:
    """Features that change slowly from frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    height, width = config.grid
    channels = config.fpn_hidden_size
    shapes = [(1, channels, scale * height, scale * width) for scale in (4, 2, 1)]
    scene = [torch.randn(shape, generator=generator) for shape in shapes]
    frames = []
    for _ in range(num_frames):
        scene = [0.9 * x + 0.45 * torch.randn(x.shape, generator=generator) for x in scene]
        frames.append(TrackerFeatures(levels=(scene[0], scene[1], scene[2])))
    return frames


@torch.no_grad()
def start_session(
    reference: Sam3TrackerVideoModel, video: list[TrackerFeatures], num_objects: int
) -> Sam3TrackerVideoInferenceSession:
    """A session of the reference that has all frames' features already; objects 1 … n."""
    size = reference.config.image_size
    session = Sam3TrackerVideoInferenceSession(
        video=torch.zeros(len(video), 1, 1, 1),
        video_height=size,
        video_width=size,
        dtype=torch.float32,
        max_vision_features_cache_size=len(video) + 1,
    )
    sine = Sam3SinePositionEmbedding(reference.hidden_dim // 2, normalize=True)
    decoder = reference.mask_decoder
    for frame_index, features in enumerate(video):
        fine, middle, coarse = features.levels
        levels = [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse]
        places = [sine((1, 1, *x.shape[2:]), x.device, x.dtype) for x in levels]
        session.cache.cache_vision_features(
            frame_index,
            {
                "vision_feats": [x.flatten(2).permute(2, 0, 1) for x in levels],
                "vision_pos_embeds": [x.flatten(2).permute(2, 0, 1) for x in places],
            },
        )
    for index in range(num_objects):
        session.obj_id_to_idx(index + 1)
    return session


def stored(session: Sam3TrackerVideoInferenceSession, frame_index: int) -> dict[str, Tensor]:
    """What the session keeps of a frame, all objects as a batch, in our shapes."""
    entries = []
    for outputs in session.output_dict_per_obj.values():
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
            if frame_index in outputs[kind]:
                entries.append(outputs[kind][frame_index])
                break
    return {
        "low_res_masks": torch.stack([x["pred_masks"][0, 0] for x in entries]),
        "object_score_logits": torch.stack([x["object_score_logits"].reshape(()) for x in entries]),
        "object_pointers": torch.stack([x["object_pointer"].reshape(-1) for x in entries]),
        "maps": torch.stack([x["maskmem_features"][:, 0] for x in entries]),
    }
