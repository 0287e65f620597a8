"""Every tensor of the official ``sam3.1_multiplex.pt``, and where it goes in the folder layout.

The detector is SAM 3.0's but for its necks: three branches of three levels. The tracker has other
parts, under ``tracker.model.``; transformers has none of them, so their names here are our own.
"""

from __future__ import annotations

from functools import cache

from maskstream.core.official_table import (
    WIDTH,
    OfficialTensor,
    Shape,
    Table,
    add_detector,
    add_mask_decoder,
    add_memory_encoder,
    add_neck,
    add_prompt_encoder,
    in_middle_out,
)

NUM_SLOTS = 16
MASKS_OF_A_SLOT = 3
MARK = "tracker.model.output_valid_embed"
"""A tensor that no other release has."""

_ATTENTION = (
    *(f"self_attn_{part}_proj" for part in ("q", "k", "v", "out")),
    *(f"cross_attn_{part}_proj" for part in ("q", "k", "v", "out")),
    "image_cross_attn_q_proj",
    "image_cross_attn_k_proj",
)


def _memory_attention(table: Table, name: str, target: str) -> None:
    for index in range(4):
        block, layer = f"{name}.layers.{index}", f"{target}.layers.{index}"
        for part in _ATTENTION:
            table.layer(f"{block}.{part}", f"{layer}.{part}", (WIDTH, WIDTH))
        table.feed_forward(block, layer, ("linear1", "linear2"))
        for number in (1, 2, 3):
            table.norm(f"{block}.norm{number}", f"{layer}.layer_norm{number}")
    table.norm(f"{name}.norm", f"{target}.layer_norm")


def _memory(table: Table) -> None:
    """Memory attention, memory encoder, object pointers and the learned constants."""
    name, target = "tracker.model", "tracker_model"
    constants: dict[str, tuple[str, Shape]] = {
        "maskmem_tpos_enc": ("memory_temporal_positional_encoding", (7, 1, 1, WIDTH)),
        "interactivity_no_mem_embed": ("no_memory_embedding", (1, 1, WIDTH)),
        "no_obj_embed_spatial": ("occlusion_spatial_embedding_parameter", (NUM_SLOTS, WIDTH)),
        "output_valid_embed": ("output_valid_embed", (NUM_SLOTS, WIDTH)),
        "output_invalid_embed": ("output_invalid_embed", (NUM_SLOTS, WIDTH)),
        "image_pe_layer.positional_encoding_gaussian_matrix": (
            "shared_image_embedding.positional_embedding",
            (2, WIDTH // 2),
        ),
    }
    for part, (own, shape) in constants.items():
        table.add(f"{name}.{part}", shape, f"{target}.{own}")
    table.layer(f"{name}.interactive_mask_downsample", f"{target}.mask_downsample", (1, 1, 4, 4))
    _memory_attention(table, f"{name}.transformer.encoder", f"{target}.memory_attention")
    widths = (2 * NUM_SLOTS, 16, 64, 256, 1024)
    add_memory_encoder(table, f"{name}.maskmem_backbone", f"{target}.memory_encoder", widths)
    for part in ("", "interactive_"):
        pointer = in_middle_out(f"{target}.{part}object_pointer_proj")
        table.mlp(f"{name}.{part}obj_ptr_proj", (WIDTH,) * 4, pointer)
    table.layer(f"{name}.no_obj_ptr_linear", f"{target}.no_object_pointer_linear", (WIDTH, WIDTH))
    temporal = f"{target}.temporal_positional_encoding_projection_layer"
    table.layer(f"{name}.obj_ptr_tpos_proj", temporal, (WIDTH, WIDTH))


@cache
def multiplex_tensors() -> tuple[OfficialTensor, ...]:
    """All tensors of ``sam3.1_multiplex.pt`` with their shapes and destinations."""
    table = Table()
    add_detector(table, num_levels=3)
    convolutions = "detector.backbone.vision_backbone"
    add_neck(table, f"{convolutions}.propagation_convs", "tracker_neck", 3)
    add_neck(table, f"{convolutions}.interactive_convs", "interactive_neck", 3)
    _memory(table)
    name, target = "tracker.model", "tracker_model"
    add_prompt_encoder(
        table, f"{name}.interactive_sam_prompt_encoder", f"{target}.interactive_prompt_encoder"
    )
    decoder = f"{target}.interactive_mask_decoder"
    add_mask_decoder(table, f"{name}.interactive_sam_mask_decoder", decoder)
    add_mask_decoder(
        table, f"{name}.sam_mask_decoder", f"{target}.mask_decoder", MASKS_OF_A_SLOT, NUM_SLOTS
    )
    return tuple(table.rows)
