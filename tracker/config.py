"""Configuration of the tracker's network.

Field names are those of the ``tracker_config`` part of a transformers ``Sam3VideoModel`` folder,
so that a checkpoint's ``config.json`` is read as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from maskstream.core.errors import ConfigError
from maskstream.core.layers import activation

# What transformers writes into every configuration and what says nothing about the network.
# fmt: off
BOOKKEEPING = frozenset((
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
    "add_cross_attention", "architectures", "attn_implementation", "bad_words_ids",
    "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id",
    "forced_eos_token_id", "id2label", "initializer_range", "is_decoder", "is_encoder_decoder",
    "label2id", "length_penalty", "max_length", "min_length", "model_type",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_scores", "pad_token_id", "prefix",
    "problem_type", "pruned_heads", "remove_invalid_values", "repetition_penalty",
    "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder",
    "tie_word_embeddings", "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript",
    "transformers_version", "typical_p", "use_bfloat16",
))
# fmt: on

C = TypeVar("C", bound="StrictConfig")


def check_positive(owner: object, *names: str) -> None:
    """Raise ConfigError where one of these fields is not above 0."""
    for name in names:
        value = getattr(owner, name)
        if not value > 0:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}; it must be above 0")


def check_divides(what: str, value: int, by: int, by_what: str) -> None:
    """Raise ConfigError where ``value`` is no multiple of ``by``."""
    if by <= 0 or value % by:
        raise ConfigError(f"{what} is {value}; it must be a multiple of {by_what} ({by})")


class StrictConfig:
    """Reading and checking shared by the three classes below."""

    __slots__ = ()

    @classmethod
    def _read(cls: type[C], values: Mapping[str, Any], where: str) -> C:
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known) - BOOKKEEPING)
        if unknown:
            raise ConfigError(f"{where} has unknown keys {unknown}; known are {sorted(known)}")
        taken = {}
        for name, spec in known.items():
            if name in values:
                taken[name] = _typed(values[name], str(spec.type), f"{where}.{name}")
        return cls(**taken)


def _typed(value: Any, kind: str, where: str) -> Any:
    """Check a JSON scalar against the annotation of its field."""
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = {"int": int, "float": float, "bool": bool, "str": str}.get(kind)
    if wanted is None:
        return value
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}; it must be of type {kind}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEncoderConfig(StrictConfig):
    """What turns clicks, boxes and masks into embeddings."""

    hidden_size: int = 256
    """Channels; equal to the tracker's."""
    image_size: int = 1008
    """Side of the model's input, pixels; equal to the tracker's."""
    patch_size: int = 14
    """Pixels per cell of the coarsest map."""
    mask_input_channels: int = 16
    """Channels between the two convolutions that shrink a mask prompt."""
    num_point_embeddings: int = 4
    """Kinds of points: negative, positive, top-left and bottom-right corner of a box."""
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    scale: float = 1.0
    """Standard deviation of the random frequencies at initialisation."""

    def __post_init__(self) -> None:
        check_positive(self, "hidden_size", "image_size", "patch_size", "layer_norm_eps", "scale")
        check_positive(self, "mask_input_channels")
        check_divides("hidden_size", self.hidden_size, 2, "2")
        check_divides("mask_input_channels", self.mask_input_channels, 4, "4")
        if self.num_point_embeddings < 4:
            raise ConfigError(
                f"num_point_embeddings is {self.num_point_embeddings}; clicks and corners need 4"
            )
        activation(self.hidden_act)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskDecoderConfig(StrictConfig):
    """The two-way transformer and the heads on top of it."""

    hidden_size: int = 256
    """Channels; equal to the tracker's."""
    hidden_act: str = "gelu"
    """Kept for the file format; the released decoder's blocks use ReLU whatever it says."""
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    """Two-way blocks; also the number of linear layers of each block's MLP."""
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    """Cross-attention works in ``hidden_size / attention_downsample_rate`` channels."""
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    dynamic_multimask_via_stability: bool = True
    """Where one mask is asked for and it is unstable, answer with the best of the others."""
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98

    def __post_init__(self) -> None:
        check_positive(self, "hidden_size", "mlp_dim", "num_hidden_layers", "num_attention_heads")
        check_positive(self, "num_multimask_outputs", "iou_head_depth", "iou_head_hidden_dim")
        check_divides("hidden_size", self.hidden_size, 8, "8")
        rate = self.attention_downsample_rate
        check_divides("hidden_size", self.hidden_size, rate, "attention_downsample_rate")
        inner = self.hidden_size // rate
        check_divides("channels in attention", inner, self.num_attention_heads, "heads")
        activation(self.hidden_act)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerConfig(StrictConfig):
    """The tracker's network: memory attention, mask decoder, memory encoder."""

    image_size: int = 1008
    """Side of the model's input, pixels."""
    patch_size: int = 14
    """Pixels per cell of the coarsest feature map."""
    fpn_hidden_size: int = 256
    """Channels of the features that come in, and of everything in the tracker."""
    prompt_encoder_config: PromptEncoderConfig = field(default_factory=PromptEncoderConfig)
    mask_decoder_config: MaskDecoderConfig = field(default_factory=MaskDecoderConfig)

    num_maskmem: int = 7
    """Kinds of temporal position of a memory map: conditioning, and 1 … num_maskmem - 1 back."""
    max_cond_frame_num: int = 4
    """Conditioning frames that memory attention looks at; -1 for all."""
    max_object_pointers_in_encoder: int = 16
    """Recent pointers reach back this many frames less one; also the unit of their offsets."""
    sigmoid_scale_for_mem_enc: float = 20.0
    sigmoid_bias_for_mem_enc: float = -10.0
    enable_occlusion_spatial_embedding: bool = True
    """Add a learnt vector to the memory of a masklet that isn't in the frame."""
    enable_temporal_pos_encoding_for_object_pointers: bool = True

    multimask_output_in_sam: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    """Several masks are proposed when the number of points lies in this range."""
    multimask_output_for_tracking: bool = True
    """The same where the frame is conditioned on memory."""

    memory_attention_hidden_size: int = 256
    memory_attention_num_layers: int = 4
    memory_attention_num_attention_heads: int = 1
    memory_attention_downsample_rate: int = 1
    memory_attention_feed_forward_hidden_size: int = 2048
    memory_attention_feed_forward_hidden_act: str = "relu"
    memory_attention_dropout: float = 0.1
    memory_attention_rope_dropout: float = 0.1
    rope_theta: float = 10000.0
    """Base of the rotary frequencies (``rope_parameters.rope_theta`` in the file)."""

    memory_encoder_hidden_size: int = 256
    memory_encoder_output_channels: int = 64
    """Channels of a stored memory map. transformers can only load 64, and only run it when it is
    smaller than the tracker's width."""
    mask_downsampler_embed_dim: int = 256
    mask_downsampler_kernel_size: int = 3
    mask_downsampler_stride: int = 2
    mask_downsampler_padding: int = 1
    mask_downsampler_total_stride: int = 16
    mask_downsampler_hidden_act: str = "gelu"
    memory_fuser_num_layers: int = 2
    memory_fuser_embed_dim: int = 256
    memory_fuser_intermediate_dim: int = 1024
    memory_fuser_kernel_size: int = 7
    memory_fuser_padding: int = 3
    memory_fuser_layer_scale_init_value: float = 1e-6
    memory_fuser_hidden_act: str = "gelu"

    def __post_init__(self) -> None:
        self._check_widths()
        self._check_memory_attention()
        self._check_memory_encoder()
        check_positive(self, "num_maskmem")
        if self.num_maskmem < 2 or self.max_object_pointers_in_encoder < 2:
            raise ConfigError(
                f"num_maskmem is {self.num_maskmem} and max_object_pointers_in_encoder is "
                f"{self.max_object_pointers_in_encoder}; both must be at least 2"
            )
        if self.max_cond_frame_num != -1 and self.max_cond_frame_num < 2:
            raise ConfigError(
                f"max_cond_frame_num is {self.max_cond_frame_num}; it must be -1 or at least 2"
            )

    def _check_widths(self) -> None:
        check_positive(self, "image_size", "patch_size", "fpn_hidden_size")
        check_divides("image_size", self.image_size, self.patch_size, "patch_size")
        prompt, decoder, hidden = (
            self.prompt_encoder_config,
            self.mask_decoder_config,
            self.fpn_hidden_size,
        )
        for name, value, wanted in (
            ("prompt_encoder_config.hidden_size", prompt.hidden_size, hidden),
            ("prompt_encoder_config.image_size", prompt.image_size, self.image_size),
            ("prompt_encoder_config.patch_size", prompt.patch_size, self.patch_size),
            ("mask_decoder_config.hidden_size", decoder.hidden_size, hidden),
            ("memory_attention_hidden_size", self.memory_attention_hidden_size, hidden),
            ("memory_encoder_hidden_size", self.memory_encoder_hidden_size, hidden),
            ("mask_downsampler_embed_dim", self.mask_downsampler_embed_dim, hidden),
            ("memory_fuser_embed_dim", self.memory_fuser_embed_dim, hidden),
        ):
            if value != wanted:
                raise ConfigError(f"tracker: {name} is {value}; it must be {wanted} here")

    def _check_memory_attention(self) -> None:
        check_positive(self, "memory_attention_num_layers", "rope_theta")
        check_positive(self, "memory_attention_feed_forward_hidden_size")
        hidden, rate = self.memory_attention_hidden_size, self.memory_attention_downsample_rate
        check_divides("memory_attention_hidden_size", hidden, rate, "downsample rate")
        heads = self.memory_attention_num_attention_heads
        check_divides("channels in memory attention", hidden // rate, heads, "heads")
        check_divides("channels of a head", hidden // rate // heads, 4, "4, two axes of pairs")
        for name in ("memory_attention_dropout", "memory_attention_rope_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")
        activation(self.memory_attention_feed_forward_hidden_act)

    def _check_memory_encoder(self) -> None:
        check_positive(self, "memory_encoder_output_channels", "memory_fuser_intermediate_dim")
        dim = self.memory_encoder_output_channels
        hidden = self.fpn_hidden_size
        check_divides("fpn_hidden_size", hidden, dim, "memory_encoder_output_channels")
        check_divides("memory_encoder_output_channels", dim, 4, "4")
        stride, total = self.mask_downsampler_stride, self.mask_downsampler_total_stride
        if stride < 2 or total != 16 or stride ** round(math.log(total, stride)) != total:
            raise ConfigError(
                f"mask_downsampler_total_stride is {total} with a stride of {stride}; it must be "
                "16, by a stride of 2, 4 or 16: masks enter at 16 pixels a cell"
            )
        kernel, padding = self.memory_fuser_kernel_size, self.memory_fuser_padding
        if kernel != 2 * padding + 1:
            raise ConfigError(
                f"memory_fuser_kernel_size is {kernel} with a padding of {padding}; it must be "
                "2 × padding + 1, to keep the size of the map"
            )
        activation(self.mask_downsampler_hidden_act)
        activation(self.memory_fuser_hidden_act)

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the coarsest feature map and of memory maps, in cells."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def mask_size(self) -> tuple[int, int]:
        """(height, width) of ``low_res_masks``: four pixels a cell."""
        return 4 * self.grid[0], 4 * self.grid[1]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrackerConfig:
        """Read the ``tracker_config`` part of a transformers configuration.

        What describes the vision encoder is taken no further than its width and patch size.

        Raises:
            ConfigError: an unknown key, a value of the wrong type, or values that don't fit.
        """
        flat = dict(values)
        flat.update(_from_vision(flat.pop("vision_config", None) or {}))
        rope = flat.pop("rope_parameters", None) or {}
        flat.setdefault("rope_theta", flat.pop("memory_attention_rope_theta", None))
        flat["rope_theta"] = rope.get("rope_theta", flat["rope_theta"] or 10000.0)
        if rope.get("rope_type", "axial") != "axial":
            raise ConfigError(f"rope_type is {rope['rope_type']!r}; only 'axial' is known")
        for side in ("image_size", "patch_size"):
            flat.setdefault(side, getattr(cls(), side))
        feat_sizes = flat.pop("memory_attention_rope_feat_sizes", None)
        shared = {name: flat[name] for name in ("image_size", "patch_size")}
        prompt = {**shared, **(flat.pop("prompt_encoder_config", None) or {})}
        decoder = flat.pop("mask_decoder_config", None) or {}
        flat["prompt_encoder_config"] = PromptEncoderConfig._read(prompt, "prompt_encoder_config")
        flat["mask_decoder_config"] = MaskDecoderConfig._read(decoder, "mask_decoder_config")
        config = cls._read(flat, "tracker_config")
        if feat_sizes is not None and tuple(feat_sizes) != config.grid:
            raise ConfigError(
                f"memory_attention_rope_feat_sizes is {list(feat_sizes)}; with this image_size and "
                f"patch_size it must be {list(config.grid)}"
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """The same as transformers' ``Sam3TrackerVideoConfig`` writes it, ready for JSON."""
        out: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        patch_size, hidden = out.pop("patch_size"), out.pop("fpn_hidden_size")
        side = self.grid[0]
        out["model_type"] = "sam3_tracker_video"
        for part, kind in (("prompt_encoder", "prompt_encoder"), ("mask_decoder", "mask_decoder")):
            config = out[f"{part}_config"]
            out[f"{part}_config"] = {
                **{f.name: getattr(config, f.name) for f in fields(config)},
                "model_type": f"sam3_tracker_video_{kind}",
            }
        scale = self.prompt_encoder_config.scale
        if scale.is_integer():  # transformers declares an int and refuses a float
            out["prompt_encoder_config"]["scale"] = int(scale)
        out["rope_parameters"] = {"rope_type": "axial", "rope_theta": out.pop("rope_theta")}
        out["memory_attention_rope_feat_sizes"] = [side, side]
        out["vision_config"] = {
            "model_type": "sam3_vision_model",
            "fpn_hidden_size": hidden,
            "backbone_feature_sizes": [[4 * side] * 2, [2 * side] * 2, [side] * 2],
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "image_size": self.image_size,
                "patch_size": patch_size,
            },
        }
        return out


def _from_vision(vision: Mapping[str, Any]) -> dict[str, Any]:
    """Width and patch size, where a vision configuration names them."""
    out = {}
    if "fpn_hidden_size" in vision:
        out["fpn_hidden_size"] = vision["fpn_hidden_size"]
    backbone = vision.get("backbone_config") or {}
    if "patch_size" in backbone:
        out["patch_size"] = backbone["patch_size"]
    return out
