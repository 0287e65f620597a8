"""Starting values for models trained from nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskstream.core.layers import Attention
from maskstream.detector.decoder import Mlp
from maskstream.detector.model import Detector
from maskstream.tracker.network.mask_decoder import DecoderAttention
from maskstream.tracker.network.memory_attention import RopeAttention
from maskstream.tracker.network.model import TrackerModel

# Logits fall by about 2 from one cell to the next.
NEARBY = 3.0
# A click's logit at its own cell is about 6 above that of cells far away.
POSITION_STRENGTH = 1.5
# Of embeddings beside a position code of norm √(C / 2).
SMALL = 0.3


@torch.no_grad()
def initialise_linears(model: nn.Module) -> None:
    """Xavier weights and zero biases for all linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def initialise_detector(model: Detector) -> None:
    """Queries spread over the image, boxes that start where their query stands."""
    initialise_linears(model)
    decoder = model.detr_decoder
    count = decoder.reference_points.weight.shape[0]
    columns = int(count**0.5)
    rows = -(-count // columns)
    cells = torch.arange(count)
    x = ((cells % columns) + 0.5) / columns
    y = ((cells // columns) + 0.5) / rows
    size = torch.full((count,), 0.2)
    spread = torch.stack((x, y, size, size), dim=1)
    decoder.reference_points.weight.copy_(torch.logit(spread))
    for bias in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
        _look_inside(bias)
    # Alignment has made likes of words and of cells that show what they mean.
    for layer in model.detr_encoder.layers:
        _look_alike(layer.cross_attn)  # type: ignore[arg-type]
    for layer in decoder.layers:
        _look_alike(layer.text_cross_attn)  # type: ignore[arg-type]
    _look_alike(model.mask_decoder.prompt_cross_attn)
    last = decoder.box_head.layer3
    if last is not None:
        nn.init.zeros_(last.weight)
    embeddings = model.text_encoder.text_model.embeddings
    nn.init.normal_(embeddings.token_embedding.weight, std=0.3)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.1)


@torch.no_grad()
def _look_alike(attention: Attention | DecoderAttention, strength: float = 1.0) -> None:
    """Compare queries and keys as they are, in a random projection that both share."""
    attention.q_proj.weight.mul_(strength)
    attention.k_proj.weight.copy_(attention.q_proj.weight)


@torch.no_grad()
def _look_inside(bias: Mlp) -> None:
    """Let a query look inside its box at first, some heads more strictly than others.

    The inputs are a cell's signed distances from the box's two edges on this axis: the first is
    negative before the box, the second positive behind it.
    """
    nn.init.normal_(bias.layer1.weight, std=0.1)
    nn.init.normal_(bias.layer2.weight, std=0.1)
    bias.layer1.weight[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    num_heads = bias.layer2.weight.shape[0]
    strictness = torch.linspace(0.0, 15.0, num_heads)
    bias.layer2.weight[:, :2] = -strictness[:, None]


@torch.no_grad()
def start_tracker_neck(detector: Detector, pixels: Tensor) -> None:
    """Make the tracker's neck a copy of the detector's, scaled to unit variance on ``pixels``."""
    necks = detector.vision_encoder.neck, detector.tracker_neck
    necks[1].load_state_dict(necks[0].state_dict())
    grid = detector.vision_encoder.backbone(pixels)
    for level in list(necks[1].fpn_layers)[:3]:
        deviation = level(grid).std()
        for name, parameter in level.named_parameters():
            if name.startswith("proj2."):
                parameter.div_(deviation)


@torch.no_grad()
def _look_nearby(attention: RopeAttention) -> None:
    """Let every cell look at the same place of the memory at first.

    Rotary embedding turns query and key by their positions, so that a constant in both of them
    scores their distance: 2·c²·cos(frequency · distance) for every pair of channels. The highest
    frequencies tell neighbours apart.
    """
    half = attention.q_proj.out_features // attention.num_heads // 2
    for projection in (attention.q_proj, attention.k_proj):
        heads = projection.bias.view(attention.num_heads, 2, half)
        heads[:, :, : max(2, 3 * half // 8)] = NEARBY
        projection.weight.mul_(0.5)


@torch.no_grad()
def _let_clicks_mark_objects(model: TrackerModel) -> None:
    """Let a click find its cell, take that cell's features, and be found by cells like it.

    A click and its cell carry the same position code, and the image encoder has made the cells of
    one object alike. From random values the decoder takes thousands of steps to make use of either.
    """
    for embedding in model.prompt_encoder.modules():
        if isinstance(embedding, nn.Embedding):
            embedding.weight.mul_(SMALL)
    decoder = model.mask_decoder
    for token in (decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token):
        token.weight.mul_(SMALL)
    transformer = decoder.transformer
    asking = [transformer.final_attn_token_to_image]
    for block in transformer.layers:
        asking.append(block.cross_attn_token_to_image)  # type: ignore[arg-type]
        _look_alike(block.cross_attn_image_to_token, POSITION_STRENGTH)  # type: ignore[arg-type]
    for attention in asking:
        _look_alike(attention, POSITION_STRENGTH)
        # Values out as they went in, but for the directions that the narrow inside has no room for.
        attention.o_proj.weight.copy_(attention.v_proj.weight.T)


@torch.no_grad()
def initialise_tracker(model: TrackerModel) -> None:
    """Small random embeddings; both uses of the position frequencies hold the same values."""
    initialise_linears(model)
    shared = model.shared_image_embedding.positional_embedding
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(shared)
    for parameter in (
        model.no_memory_embedding,
        model.no_memory_positional_encoding,
        model.memory_temporal_positional_encoding,
        model.no_object_pointer,
        model.occlusion_spatial_embedding_parameter,
    ):
        if parameter is not None:
            nn.init.trunc_normal_(parameter, std=0.02)
    for layer in model.memory_attention.layers:
        _look_nearby(layer.cross_attn_image)  # type: ignore[arg-type]
    _let_clicks_mark_objects(model)
    # What a memory must tell is the mask; the picture's features would drown it.
    encoder = model.memory_encoder
    encoder.mask_downsampler.final_conv.weight.mul_(6.0)
    encoder.feature_projection.weight.mul_(0.3)
    for name, parameter in model.memory_encoder.memory_fuser.named_parameters():
        if name.endswith(".scale"):
            # From 1e-6 the fuser would not wake up within a short run.
            nn.init.constant_(parameter, 0.1)
