"""Arithmetic of one frame, counted from the configuration: the floor under every timing.

A multiplication and its addition are two operations. Norms, activations and softmax are left out:
they are below one per cent at the released size.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskstream.detector.config import DetectorConfig, ViTConfig
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.multiplex.config import MultiplexConfig


def _linear(rows: int, inputs: int, outputs: int) -> int:
    return 2 * rows * inputs * outputs


def _attention(queries: int, keys: int, channels: int) -> int:
    return 4 * queries * keys * channels


def vit_flops(config: ViTConfig) -> int:
    """The vision transformer on one image."""
    grid, width, window = config.grid_size, config.hidden_size, config.window_size
    cells = grid**2
    padded = (-(-grid // window) * window) ** 2
    total = _linear(cells, config.num_channels * config.patch_size**2, width)
    for layer in range(config.num_hidden_layers):
        everywhere = layer in config.global_attn_indexes
        rows = cells if everywhere else padded
        total += _linear(rows, width, 4 * width)
        total += _attention(rows, cells if everywhere else window**2, width)
        total += _linear(cells, width, 2 * config.intermediate_size)
    return total


def neck_flops(config: DetectorConfig) -> int:
    """One branch of the neck on one image, three levels."""
    vision = config.vision_config
    cells = vision.backbone_config.grid_size**2
    inputs, width = vision.backbone_config.hidden_size, vision.fpn_hidden_size
    half, quarter = inputs // 2, inputs // 4
    first = _linear(4 * cells, inputs, half)  # 2×2 transposed convolution, stride 2
    second = _linear(16 * cells, half, quarter)
    total = 2 * first + second
    for scale, channels in ((16, quarter), (4, half), (1, inputs)):
        total += _linear(scale * cells, channels + 9 * width, width)
    return total


def concept_flops(config: DetectorConfig, num_tokens: int, *, masks: bool) -> int:
    """Fusion and decoder for one concept, and the mask head if it is there at all."""
    cells = config.vision_config.backbone_config.grid_size**2
    width = config.hidden_size
    fusion, decoder = config.detr_encoder_config, config.detr_decoder_config
    layer = _linear(cells, width, 6 * width) + _linear(num_tokens, width, 2 * width)
    layer += _attention(cells, cells + num_tokens, width)
    layer += _linear(cells, width, 2 * fusion.intermediate_size)
    total = fusion.num_layers * layer
    queries = decoder.num_queries + 1
    layer = _linear(queries, width, 8 * width) + _attention(queries, queries, width)
    layer += _linear(num_tokens + cells, width, 2 * width)
    layer += _attention(queries, num_tokens + cells, width)
    layer += _linear(queries, width, 2 * decoder.intermediate_size)
    total += decoder.num_layers * layer
    if masks:
        total += _linear(cells, width, 2 * width) + _attention(cells, num_tokens, width)
        # Two stages, the upsampled part as the 2×2 different cells that a 3×3 window covers.
        total += _linear(4 * cells + 16 * cells, 4 * width, width)
    return total


def image_flops(config: DetectorConfig) -> int:
    """What is done once for an image: ViT, both branches, the neck's share of the mask head."""
    cells = config.vision_config.backbone_config.grid_size**2
    shared = _linear(4 * cells + 16 * cells, 9 * config.hidden_size, config.hidden_size)
    return vit_flops(config.vision_config.backbone_config) + 2 * neck_flops(config) + shared


def masklet_flops(config: TrackerConfig) -> int:
    """Memory attention, mask decoder and memory encoder for one masklet with a full bank."""
    height, width = config.grid
    cells = height * width
    hidden, memory = config.memory_attention_hidden_size, config.memory_encoder_output_channels
    wide = config.memory_attention_feed_forward_hidden_size
    pointers = config.max_object_pointers_in_encoder * (hidden // memory)
    keys = config.num_maskmem * cells + pointers
    layer = _linear(cells, hidden, 6 * hidden) + _attention(cells, cells, hidden)
    layer += _linear(keys, memory, 2 * hidden) + _attention(cells, keys, hidden)
    layer += _linear(cells, hidden, 2 * wide)
    total = config.memory_attention_num_layers * layer
    # Mask decoder: two layers in which cells and a dozen tokens look at each other, upscaling.
    total += 2 * _linear(cells, hidden, 3 * hidden)
    total += _linear(4 * cells, hidden, hidden // 4) + _linear(16 * cells, hidden // 4, hidden // 8)
    # Memory encoder: mask downsampler (each stage halves the side and has four times the
    # channels), projection of the features, fuser blocks (7×7 depthwise and two 1×1).
    stride, taps = config.mask_downsampler_stride, config.mask_downsampler_kernel_size**2
    channels, scale = 1, config.mask_downsampler_total_stride
    while scale > 1:
        scale //= stride
        total += _linear(cells * scale**2, taps * channels, channels * stride**2)
        channels *= stride**2
    total += _linear(cells, channels, config.mask_downsampler_embed_dim)
    fuser = 2 * cells * 49 * hidden + _linear(
        cells, hidden, 2 * config.memory_fuser_intermediate_dim
    )
    total += _linear(cells, hidden, hidden) + config.memory_fuser_num_layers * fuser
    return total + _linear(cells, hidden, memory)


def bucket_flops(config: MultiplexConfig) -> int:
    """The same for one bucket of SAM 3.1, however many of its slots hold an object."""
    height, width = config.grid
    cells, hidden, slots = height * width, config.fpn_hidden_size, config.num_slots
    wide = config.memory_attention_feed_forward_hidden_size
    pointers = config.max_object_pointers_in_encoder * slots
    maps = config.num_maskmem * cells
    layer = _linear(cells, hidden, 6 * hidden) + _attention(cells, cells, hidden)
    # Keys of maps, of the images behind them, and values; then queries of both kinds.
    layer += _linear(maps, hidden, 3 * hidden) + _linear(pointers, hidden, 2 * hidden)
    layer += _linear(cells, hidden, hidden) + _attention(cells, maps + pointers, hidden)
    layer += _linear(cells, hidden, 2 * wide)
    total = config.memory_attention_num_layers * layer
    decoder = config.mask_decoder_config
    tokens = slots * (2 + decoder.num_multimask_outputs)
    inner = hidden // decoder.attention_downsample_rate
    block = _linear(cells, hidden, 3 * hidden) + 2 * _attention(cells, tokens, inner)
    block += _linear(tokens, hidden, 4 * hidden + 2 * decoder.mlp_dim)
    total += decoder.num_hidden_layers * block
    total += _linear(4 * cells, hidden, hidden // 4) + _linear(16 * cells, hidden // 4, hidden // 8)
    total += _linear(16 * cells, hidden // 8, slots)
    channels, out = 2 * slots, config.mask_downsampler_channels
    for scale in (8, 4, 2, 1):
        total += _linear(cells * scale**2, 9 * channels, out)
        channels, out = out, 4 * out
    total += _linear(cells, channels, hidden) + _linear(cells, hidden, hidden)
    fuser = 2 * cells * 49 * hidden + _linear(
        cells, hidden, 2 * config.memory_fuser_intermediate_dim
    )
    return total + config.memory_fuser_num_layers * fuser


@dataclass(frozen=True, slots=True)
class Floor:
    """What the arithmetic alone takes.

    Attributes:
        gflop: operations / 10⁹.
        floor_ms: milliseconds at the device's rate.
    """

    gflop: float
    floor_ms: float


def floor(flops: int, tflop_per_s: float) -> Floor:
    """Time of so many operations at a rate."""
    return Floor(gflop=flops / 1e9, floor_ms=flops / tflop_per_s / 1e9)
