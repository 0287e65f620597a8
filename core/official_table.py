"""Every tensor of the official ``sam3.pt``, and where it goes in the folder layout.

The official file holds the video model: ``detector.*`` and ``tracker.*``. The table below is built
from the model's own repetition (blocks, attention, layer norms) instead of being listed name by
name. The two layouts differ in more than names:

- Attention comes fused there, rows in the order query, key, value. Both layouts rotate adjacent
  channel pairs (x axis first, then y) in rotary attention, so no rows are permuted.
- The absolute positions carry a first row for a class token that the model does not use.
- ``text_projection`` is applied as ``x @ p`` there and as a linear layer here: transposed.
- The four point embeddings are four tables of one row each.
- One random matrix encodes positions both of prompts and of the image; here it has two names.
- Rotary angles are stored there and computed here: those tensors are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cache

Shape = tuple[int, ...]

VIT_WIDTH, VIT_MLP, VIT_DEPTH, VIT_HEAD = 1024, 4736, 32, 64
GLOBAL_BLOCKS = (7, 15, 23, 31)
WINDOW_TOKENS, GLOBAL_TOKENS = 24 * 24, 72 * 72
TEXT_WIDTH, TEXT_MLP, TEXT_DEPTH = 1024, 4096, 24
WIDTH, FFN, MEMORY_WIDTH = 256, 2048, 64


class How(Enum):
    """What happens to an official tensor on its way."""

    COPY = "goes to every target as it is"
    SPLIT = "its rows are divided evenly among the targets"
    TRANSPOSE = "its two axes change places"
    SKIP_FIRST_TOKEN = "loses index 0 of axis 1"
    STACK = "is one row of the target, in the order of the table"
    DROP = "is not needed"


@dataclass(frozen=True, slots=True)
class OfficialTensor:
    """One tensor of ``sam3.pt``."""

    name: str
    shape: Shape
    how: How
    targets: tuple[str, ...]


@dataclass(slots=True)
class Table:
    """Collects rows; the methods are the building blocks both layouts repeat."""

    rows: list[OfficialTensor] = field(default_factory=list)

    def add(self, name: str, shape: Shape, *targets: str, how: How = How.COPY) -> None:
        self.rows.append(OfficialTensor(name, shape, how, targets))

    def norm(self, name: str, target: str, width: int = WIDTH) -> None:
        self.layer(name, target, (width,))

    def layer(self, name: str, target: str, weight: Shape, bias: int | None = None) -> None:
        """Weight and bias; the bias is as long as the weight's first axis unless told."""
        self.add(f"{name}.weight", weight, f"{target}.weight")
        size = weight[0] if bias is None else bias
        self.add(f"{name}.bias", (size,), f"{target}.bias")

    def mlp(self, name: str, widths: tuple[int, ...], targets: tuple[str, ...]) -> None:
        """Linear layers ``name.layers.N`` from one width to the next."""
        for index, target in enumerate(targets):
            self.layer(f"{name}.layers.{index}", target, (widths[index + 1], widths[index]))

    def fused_rows(self, name: str, target: str, width: int, separator: str) -> None:
        """Query, key and value in one weight and one bias."""
        for kind, shape in (("weight", (3 * width, width)), ("bias", (3 * width,))):
            targets = (f"{target}.{part}_proj.{kind}" for part in "qkv")
            self.add(f"{name}{separator}{kind}", shape, *targets, how=How.SPLIT)

    def fused_attention(
        self, name: str, target: str, width: int = WIDTH, out: str = "o_proj"
    ) -> None:
        self.fused_rows(name, target, width, ".in_proj_")
        self.layer(f"{name}.out_proj", f"{target}.{out}", (width, width))

    def attention(self, name: str, target: str, inner: int = WIDTH, memory: int = WIDTH) -> None:
        """Separate projections; ``memory`` is the width of keys and values."""
        self.layer(f"{name}.q_proj", f"{target}.q_proj", (inner, WIDTH))
        self.layer(f"{name}.k_proj", f"{target}.k_proj", (inner, memory))
        self.layer(f"{name}.v_proj", f"{target}.v_proj", (inner, memory))
        self.layer(f"{name}.out_proj", f"{target}.o_proj", (WIDTH, inner))

    def feed_forward(self, name: str, target: str, parts: tuple[str, str]) -> None:
        self.layer(f"{name}.linear1", f"{target}.{parts[0]}", (FFN, WIDTH))
        self.layer(f"{name}.linear2", f"{target}.{parts[1]}", (WIDTH, FFN))


def _vit(table: Table) -> None:
    name = "detector.backbone.vision_backbone.trunk"
    target = "detector_model.vision_encoder.backbone"
    positions = f"{target}.embeddings.position_embeddings"
    shape = (1, WINDOW_TOKENS + 1, VIT_WIDTH)
    table.add(f"{name}.pos_embed", shape, positions, how=How.SKIP_FIRST_TOKEN)
    patches = f"{target}.embeddings.patch_embeddings.projection.weight"
    table.add(f"{name}.patch_embed.proj.weight", (VIT_WIDTH, 3, 14, 14), patches)
    for index in range(VIT_DEPTH):
        block, layer = f"{name}.blocks.{index}", f"{target}.layers.{index}"
        tokens = GLOBAL_TOKENS if index in GLOBAL_BLOCKS else WINDOW_TOKENS
        table.norm(f"{block}.norm1", f"{layer}.layer_norm1", VIT_WIDTH)
        table.add(f"{block}.attn.freqs_cis", (tokens, VIT_HEAD // 2), how=How.DROP)
        table.fused_rows(f"{block}.attn", f"{layer}.attention", VIT_WIDTH, ".qkv.")
        table.layer(f"{block}.attn.proj", f"{layer}.attention.o_proj", (VIT_WIDTH, VIT_WIDTH))
        table.norm(f"{block}.norm2", f"{layer}.layer_norm2", VIT_WIDTH)
        table.layer(f"{block}.mlp.fc1", f"{layer}.mlp.fc1", (VIT_MLP, VIT_WIDTH))
        table.layer(f"{block}.mlp.fc2", f"{layer}.mlp.fc2", (VIT_WIDTH, VIT_MLP))
    table.norm(f"{name}.ln_pre", f"{target}.layer_norm", VIT_WIDTH)


def add_neck(table: Table, name: str, target: str, num_levels: int = 4) -> None:
    """Levels: ×4 by two transposed convolutions, ×2 by one, ×1, and ×½ by pooling."""
    half, quarter = VIT_WIDTH // 2, VIT_WIDTH // 4
    level, layer = f"{name}.0", f"{target}.fpn_layers.0"
    table.layer(f"{level}.dconv_2x2_0", f"{layer}.scale_layers.0", (VIT_WIDTH, half, 2, 2), half)
    table.layer(f"{level}.dconv_2x2_1", f"{layer}.scale_layers.2", (half, quarter, 2, 2), quarter)
    level, layer = f"{name}.1", f"{target}.fpn_layers.1"
    table.layer(f"{level}.dconv_2x2", f"{layer}.scale_layers.0", (VIT_WIDTH, half, 2, 2), half)
    for index, width in enumerate((quarter, half, VIT_WIDTH, VIT_WIDTH)[:num_levels]):
        level, layer = f"{name}.{index}", f"{target}.fpn_layers.{index}"
        table.layer(f"{level}.conv_1x1", f"{layer}.proj1", (WIDTH, width, 1, 1))
        table.layer(f"{level}.conv_3x3", f"{layer}.proj2", (WIDTH, WIDTH, 3, 3))


def _text(table: Table) -> None:
    name = "detector.backbone.language_backbone"
    encoder, target = f"{name}.encoder", "detector_model.text_encoder.text_model"
    positions = f"{target}.embeddings.position_embedding.weight"
    table.add(f"{encoder}.positional_embedding", (32, TEXT_WIDTH), positions)
    projection = "detector_model.text_encoder.text_projection.weight"
    table.add(f"{encoder}.text_projection", (TEXT_WIDTH, 512), projection, how=How.TRANSPOSE)
    tokens = f"{target}.embeddings.token_embedding.weight"
    table.add(f"{encoder}.token_embedding.weight", (49408, TEXT_WIDTH), tokens)
    for index in range(TEXT_DEPTH):
        block = f"{encoder}.transformer.resblocks.{index}"
        layer = f"{target}.encoder.layers.{index}"
        table.fused_attention(f"{block}.attn", f"{layer}.self_attn", TEXT_WIDTH, out="out_proj")
        table.norm(f"{block}.ln_1", f"{layer}.layer_norm1", TEXT_WIDTH)
        table.norm(f"{block}.ln_2", f"{layer}.layer_norm2", TEXT_WIDTH)
        table.layer(f"{block}.mlp.c_fc", f"{layer}.mlp.fc1", (TEXT_MLP, TEXT_WIDTH))
        table.layer(f"{block}.mlp.c_proj", f"{layer}.mlp.fc2", (TEXT_WIDTH, TEXT_MLP))
    table.norm(f"{encoder}.ln_final", f"{target}.final_layer_norm", TEXT_WIDTH)
    table.layer(f"{name}.resizer", "detector_model.text_projection", (WIDTH, TEXT_WIDTH))


def _encoder_layer(table: Table, name: str, layer: str) -> None:
    """Self-attention, cross-attention, feed-forward, each behind a layer norm."""
    table.fused_attention(f"{name}.self_attn", f"{layer}.self_attn")
    table.fused_attention(f"{name}.cross_attn_image", f"{layer}.cross_attn")
    table.feed_forward(name, layer, ("mlp.fc1", "mlp.fc2"))
    for number in (1, 2, 3):
        table.norm(f"{name}.norm{number}", f"{layer}.layer_norm{number}")


def _geometry(table: Table) -> None:
    name, target = "detector.geometry_encoder", "detector_model.geometry_encoder"
    table.add(f"{name}.label_embed.weight", (2, WIDTH), f"{target}.label_embed.weight")
    table.add(f"{name}.cls_embed.weight", (1, WIDTH), f"{target}.cls_embed.weight")
    shapes: dict[str, Shape] = {
        "points_direct_project": (WIDTH, 2),
        "points_pool_project": (WIDTH, WIDTH),
        "points_pos_enc_project": (WIDTH, WIDTH),
        "boxes_direct_project": (WIDTH, 4),
        "boxes_pool_project": (WIDTH, WIDTH, 7, 7),
        "boxes_pos_enc_project": (WIDTH, WIDTH + 2),
        "final_proj": (WIDTH, WIDTH),
    }
    for part, shape in shapes.items():
        table.layer(f"{name}.{part}", f"{target}.{part}", shape)
    table.norm(f"{name}.norm", f"{target}.prompt_layer_norm")
    table.norm(f"{name}.img_pre_norm", f"{target}.vision_layer_norm")
    table.norm(f"{name}.encode_norm", f"{target}.output_layer_norm")
    for index in range(3):
        _encoder_layer(table, f"{name}.encode.{index}", f"{target}.layers.{index}")


def _fusion_and_decoder(table: Table) -> None:
    for index in range(6):
        name = f"detector.transformer.encoder.layers.{index}"
        _encoder_layer(table, name, f"detector_model.detr_encoder.layers.{index}")
    name, target = "detector.transformer.decoder", "detector_model.detr_decoder"
    for index in range(6):
        block, layer = f"{name}.layers.{index}", f"{target}.layers.{index}"
        table.fused_attention(f"{block}.self_attn", f"{layer}.self_attn")
        table.norm(f"{block}.norm2", f"{layer}.self_attn_layer_norm")
        table.fused_attention(f"{block}.ca_text", f"{layer}.text_cross_attn")
        table.norm(f"{block}.catext_norm", f"{layer}.text_cross_attn_layer_norm")
        table.fused_attention(f"{block}.cross_attn", f"{layer}.vision_cross_attn")
        table.norm(f"{block}.norm1", f"{layer}.vision_cross_attn_layer_norm")
        table.feed_forward(block, layer, ("mlp.fc1", "mlp.fc2"))
        table.norm(f"{block}.norm3", f"{layer}.mlp_layer_norm")
    table.norm(f"{name}.norm", f"{target}.output_layer_norm")
    table.norm(f"{name}.presence_token_out_norm", f"{target}.presence_layer_norm")
    for part, shape in (
        ("query_embed", (200, WIDTH)),
        ("reference_points", (200, 4)),
        ("presence_token", (1, WIDTH)),
    ):
        table.add(f"{name}.{part}.weight", shape, f"{target}.{part}.weight")
    widths: dict[str, tuple[str, Shape]] = {
        "bbox_embed": ("box_head", (WIDTH, WIDTH, WIDTH, 4)),
        "presence_token_head": ("presence_head", (WIDTH, WIDTH, WIDTH, 1)),
        "ref_point_head": ("ref_point_head", (2 * WIDTH, WIDTH, WIDTH)),
        "boxRPB_embed_x": ("box_rpb_embed_x", (2, WIDTH, 8)),
        "boxRPB_embed_y": ("box_rpb_embed_y", (2, WIDTH, 8)),
    }
    for part, (head, sizes) in widths.items():
        layers = tuple(f"{target}.{head}.layer{number}" for number in range(1, len(sizes)))
        table.mlp(f"{name}.{part}", sizes, layers)


def _heads(table: Table) -> None:
    name, target = "detector.segmentation_head", "detector_model.mask_decoder"
    for index in range(3):
        convolution, norm = f"pixel_decoder.conv_layers.{index}", f"pixel_decoder.norms.{index}"
        table.layer(f"{name}.{convolution}", f"{target}.{convolution}", (WIDTH, WIDTH, 3, 3))
        table.norm(f"{name}.{norm}", f"{target}.{norm}")
    embedder = tuple(f"{target}.mask_embedder.layers.{index}" for index in range(3))
    table.mlp(f"{name}.mask_predictor.mask_embed", (WIDTH,) * 4, embedder)
    table.fused_attention(f"{name}.cross_attend_prompt", f"{target}.prompt_cross_attn")
    table.norm(f"{name}.cross_attn_norm", f"{target}.prompt_cross_attn_norm")
    table.layer(f"{name}.semantic_seg_head", f"{target}.semantic_projection", (1, WIDTH, 1, 1))
    table.layer(f"{name}.instance_seg_head", f"{target}.instance_projection", (WIDTH, WIDTH, 1, 1))
    name, target = "detector.dot_prod_scoring", "detector_model.dot_product_scoring"
    layers = (f"{target}.text_mlp.layer1", f"{target}.text_mlp.layer2")
    table.mlp(f"{name}.prompt_mlp", (WIDTH, FFN, WIDTH), layers)
    table.norm(f"{name}.prompt_mlp.out_norm", f"{target}.text_mlp_out_norm")
    table.layer(f"{name}.prompt_proj", f"{target}.text_proj", (WIDTH, WIDTH))
    table.layer(f"{name}.hs_proj", f"{target}.query_proj", (WIDTH, WIDTH))


def _memory(table: Table) -> None:
    """Memory attention, memory encoder, object pointers and the learned constants."""
    constants: dict[str, tuple[str, Shape]] = {
        "maskmem_tpos_enc": ("memory_temporal_positional_encoding", (7, 1, 1, MEMORY_WIDTH)),
        "no_mem_embed": ("no_memory_embedding", (1, 1, WIDTH)),
        "no_mem_pos_enc": ("no_memory_positional_encoding", (1, 1, WIDTH)),
        "no_obj_ptr": ("no_object_pointer", (1, WIDTH)),
        "no_obj_embed_spatial": ("occlusion_spatial_embedding_parameter", (1, MEMORY_WIDTH)),
    }
    for part, (target, shape) in constants.items():
        table.add(f"tracker.{part}", shape, f"tracker_model.{target}")
    table.layer("tracker.mask_downsample", "tracker_model.mask_downsample", (1, 1, 4, 4))
    for index in range(4):
        name = f"tracker.transformer.encoder.layers.{index}"
        layer = f"tracker_model.memory_attention.layers.{index}"
        table.attention(f"{name}.self_attn", f"{layer}.self_attn")
        cross = "cross_attn_image"
        table.attention(f"{name}.{cross}", f"{layer}.{cross}", memory=MEMORY_WIDTH)
        table.feed_forward(name, layer, ("linear1", "linear2"))
        for number in (1, 2, 3):
            table.norm(f"{name}.norm{number}", f"{layer}.layer_norm{number}")
    table.norm("tracker.transformer.encoder.norm", "tracker_model.memory_attention.layer_norm")
    name, target = "tracker.maskmem_backbone", "tracker_model.memory_encoder"
    add_memory_encoder(table, name, target, (1, 4, 16, 64, WIDTH))
    table.layer(f"{name}.out_proj", f"{target}.projection", (MEMORY_WIDTH, WIDTH, 1, 1))
    pointer = "tracker_model.object_pointer_proj"
    table.mlp("tracker.obj_ptr_proj", (WIDTH,) * 4, in_middle_out(pointer))
    temporal = "tracker_model.temporal_positional_encoding_projection_layer"
    table.layer("tracker.obj_ptr_tpos_proj", temporal, (MEMORY_WIDTH, WIDTH))


def add_memory_encoder(table: Table, name: str, target: str, widths: tuple[int, ...]) -> None:
    """The mask downsampler is (convolution, norm, activation) four times, then 1×1."""
    downsampler, layers = f"{name}.mask_downsampler.encoder", f"{target}.mask_downsampler"
    for index in range(4):
        shape = (widths[index + 1], widths[index], 3, 3)
        layer = f"{layers}.layers.{index}"
        table.layer(f"{downsampler}.{3 * index}", f"{layer}.conv", shape)
        table.norm(f"{downsampler}.{3 * index + 1}", f"{layer}.layer_norm", shape[0])
    table.layer(f"{downsampler}.12", f"{layers}.final_conv", (WIDTH, widths[-1], 1, 1))
    table.layer(f"{name}.pix_feat_proj", f"{target}.feature_projection", (WIDTH, WIDTH, 1, 1))
    for index in range(2):
        block, layer = f"{name}.fuser.layers.{index}", f"{target}.memory_fuser.layers.{index}"
        table.add(f"{block}.gamma", (WIDTH,), f"{layer}.scale")
        table.layer(f"{block}.dwconv", f"{layer}.depthwise_conv", (WIDTH, 1, 7, 7))
        table.norm(f"{block}.norm", f"{layer}.layer_norm")
        table.layer(f"{block}.pwconv1", f"{layer}.pointwise_conv1", (4 * WIDTH, WIDTH))
        table.layer(f"{block}.pwconv2", f"{layer}.pointwise_conv2", (WIDTH, 4 * WIDTH))


def in_middle_out(target: str) -> tuple[str, str, str]:
    """The three linear layers of a small MLP."""
    return f"{target}.proj_in", f"{target}.layers.0", f"{target}.proj_out"


def add_prompt_encoder(table: Table, name: str, target: str, *positions: str) -> None:
    """The encoder of clicks; ``positions`` also hold its random matrix."""
    table.add(
        f"{name}.pe_layer.positional_encoding_gaussian_matrix",
        (2, WIDTH // 2),
        f"{target}.shared_embedding.positional_embedding",
        *positions,
    )
    for index in range(4):
        points = f"{name}.point_embeddings.{index}.weight"
        table.add(points, (1, WIDTH), f"{target}.point_embed.weight", how=How.STACK)
    for part in ("not_a_point_embed", "no_mask_embed"):
        table.add(f"{name}.{part}.weight", (1, WIDTH), f"{target}.{part}.weight")
    name, target = f"{name}.mask_downscaling", f"{target}.mask_embed"
    table.layer(f"{name}.0", f"{target}.conv1", (4, 1, 2, 2))
    table.norm(f"{name}.1", f"{target}.layer_norm1", 4)
    table.layer(f"{name}.3", f"{target}.conv2", (16, 4, 2, 2))
    table.norm(f"{name}.4", f"{target}.layer_norm2", 16)
    table.layer(f"{name}.6", f"{target}.conv3", (WIDTH, 16, 1, 1))


def add_mask_decoder(
    table: Table, name: str, target: str, num_masks: int = 4, num_objects: int = 1
) -> None:
    """A mask decoder that proposes so many masks for each of so many objects at a time."""
    crossings = ("cross_attn_token_to_image", "cross_attn_image_to_token")
    for index in range(2):
        block, layer = f"{name}.transformer.layers.{index}", f"{target}.transformer.layers.{index}"
        table.attention(f"{block}.self_attn", f"{layer}.self_attn")
        for part in crossings:
            table.attention(f"{block}.{part}", f"{layer}.{part}", inner=WIDTH // 2)
        table.layer(f"{block}.mlp.lin1", f"{layer}.mlp.proj_in", (FFN, WIDTH))
        table.layer(f"{block}.mlp.lin2", f"{layer}.mlp.proj_out", (WIDTH, FFN))
        for number in (1, 2, 3, 4):
            table.norm(f"{block}.norm{number}", f"{layer}.layer_norm{number}")
    final = "transformer.final_attn_token_to_image"
    table.attention(f"{name}.{final}", f"{target}.{final}", inner=WIDTH // 2)
    norm = f"{target}.transformer.layer_norm_final_attn"
    table.norm(f"{name}.transformer.norm_final_attn", norm)
    counts = {"iou_token": 1, "mask_tokens": num_masks, "obj_score_token": 1}
    for part, each in counts.items():
        count = num_objects * each
        table.add(f"{name}.{part}.weight", (count, WIDTH), f"{target}.{part}.weight")
    table.layer(f"{name}.output_upscaling.0", f"{target}.upscale_conv1", (WIDTH, 64, 2, 2), 64)
    table.norm(f"{name}.output_upscaling.1", f"{target}.upscale_layer_norm", 64)
    table.layer(f"{name}.output_upscaling.3", f"{target}.upscale_conv2", (64, 32, 2, 2), 32)
    table.layer(f"{name}.conv_s0", f"{target}.conv_s0", (32, WIDTH, 1, 1))
    table.layer(f"{name}.conv_s1", f"{target}.conv_s1", (64, WIDTH, 1, 1))
    widths = {f"output_hypernetworks_mlps.{index}": 32 for index in range(num_masks)}
    widths |= {"iou_prediction_head": num_masks, "pred_obj_score_head": 1}
    for part, width in widths.items():
        sizes = (WIDTH, WIDTH, WIDTH, width)
        table.mlp(f"{name}.{part}", sizes, in_middle_out(f"{target}.{part}"))


def add_detector(table: Table, num_levels: int = 4) -> None:
    """All of the detector, its neck with so many levels."""
    _vit(table)
    convolutions = "detector.backbone.vision_backbone.convs"
    add_neck(table, convolutions, "detector_model.vision_encoder.neck", num_levels)
    _text(table)
    _geometry(table)
    _fusion_and_decoder(table)
    _heads(table)


@cache
def official_tensors() -> tuple[OfficialTensor, ...]:
    """All tensors of ``sam3.pt`` with their shapes and destinations."""
    table = Table()
    add_detector(table)
    add_neck(table, "detector.backbone.vision_backbone.sam2_convs", "tracker_neck")
    _memory(table)
    add_prompt_encoder(
        table,
        "tracker.sam_prompt_encoder",
        "tracker_model.prompt_encoder",
        "tracker_model.shared_image_embedding.positional_embedding",
    )
    add_mask_decoder(table, "tracker.sam_mask_decoder", "tracker_model.mask_decoder")
    return tuple(table.rows)
