"""Configuration of SAM 3.1's tracker network.

Field names are those of :class:`maskstream.tracker.config.TrackerConfig` wherever they mean the
same. transformers has no such network, so the file is our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from maskstream.core.errors import ConfigError
from maskstream.core.layers import activation
from maskstream.tracker.config import (
    MaskDecoderConfig,
    PromptEncoderConfig,
    StrictConfig,
    check_divides,
    check_positive,
)

MODEL_TYPE = "sam3_multiplex_tracker"
"""``model_type`` in ``tracker_config``, by which a checkpoint says which network it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiplexConfig(StrictConfig):
    """Memory attention, two mask decoders, memory encoder. The defaults are the released model."""

    image_size: int = 1008
    """Side of the model's input, pixels."""
    patch_size: int = 14
    """Pixels per cell of the coarsest feature map."""
    fpn_hidden_size: int = 256
    """Channels of the features that come in, of memory maps, and of everything in the tracker."""
    num_slots: int = 16
    """Objects that share a bucket."""
    prompt_encoder_config: PromptEncoderConfig = field(default_factory=PromptEncoderConfig)
    mask_decoder_config: MaskDecoderConfig = field(default_factory=MaskDecoderConfig)
    """Of both decoders: the one that follows objects and the one that answers to clicks."""

    num_maskmem: int = 7
    """Kinds of temporal position of a memory map; the last is that of far conditioning frames."""
    max_cond_frame_num: int = 4
    """Conditioning frames that memory attention looks at."""
    max_object_pointers_in_encoder: int = 16
    """Recent pointers reach back this many frames less one; also the unit of their distances."""
    sigmoid_scale_for_mem_enc: float = 2.0
    sigmoid_bias_for_mem_enc: float = -1.0
    """Masks are encoded as -1 … 1; a slot without an object is 0."""
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    """Several masks are proposed for a click when the number of points lies in this range."""

    memory_attention_num_layers: int = 4
    memory_attention_num_attention_heads: int = 8
    memory_attention_feed_forward_hidden_size: int = 2048
    memory_attention_feed_forward_hidden_act: str = "gelu"
    memory_attention_dropout: float = 0.1
    rope_theta: float = 10000.0

    mask_downsampler_channels: int = 16
    """Channels behind the first convolution; each of the others has four times as many."""
    mask_downsampler_kernel_size: int = 3
    mask_downsampler_stride: int = 2
    mask_downsampler_padding: int = 1
    mask_downsampler_hidden_act: str = "gelu"
    memory_fuser_num_layers: int = 2
    memory_fuser_intermediate_dim: int = 1024
    memory_fuser_kernel_size: int = 7
    memory_fuser_padding: int = 3
    memory_fuser_layer_scale_init_value: float = 1e-6
    memory_fuser_hidden_act: str = "gelu"

    def __post_init__(self) -> None:
        check_positive(self, "image_size", "patch_size", "fpn_hidden_size", "num_slots")
        check_positive(self, "memory_attention_num_layers", "rope_theta")
        check_positive(self, "memory_attention_feed_forward_hidden_size")
        check_positive(self, "mask_downsampler_channels", "memory_fuser_intermediate_dim")
        check_divides("image_size", self.image_size, self.patch_size, "patch_size")
        hidden, heads = self.fpn_hidden_size, self.memory_attention_num_attention_heads
        check_divides("fpn_hidden_size", hidden, heads, "heads of memory attention")
        check_divides("channels of a head", hidden // heads, 4, "4, two axes of pairs")
        prompt, decoder = self.prompt_encoder_config, self.mask_decoder_config
        for name, value, wanted in (
            ("prompt_encoder_config.hidden_size", prompt.hidden_size, hidden),
            ("prompt_encoder_config.image_size", prompt.image_size, self.image_size),
            ("prompt_encoder_config.patch_size", prompt.patch_size, self.patch_size),
            ("mask_decoder_config.hidden_size", decoder.hidden_size, hidden),
            ("mask_downsampler_stride", self.mask_downsampler_stride, 2),
            ("memory_fuser_kernel_size", self.memory_fuser_kernel_size, self._fuser_kernel),
        ):
            if value != wanted:
                raise ConfigError(f"tracker: {name} is {value}; it must be {wanted} here")
        least = min(self.num_maskmem, self.max_object_pointers_in_encoder, self.max_cond_frame_num)
        if least < 2:
            raise ConfigError(
                "num_maskmem, max_object_pointers_in_encoder and max_cond_frame_num must be at "
                f"least 2; one is {least}"
            )
        activation(self.memory_attention_feed_forward_hidden_act)
        activation(self.mask_downsampler_hidden_act)
        activation(self.memory_fuser_hidden_act)

    @property
    def memory_fuser_embed_dim(self) -> int:
        """Channels of the fuser."""
        return self.fpn_hidden_size

    @property
    def _fuser_kernel(self) -> int:
        """What keeps the size of a map."""
        return 2 * self.memory_fuser_padding + 1

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the coarsest feature map and of memory maps, in cells."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def mask_size(self) -> tuple[int, int]:
        """(height, width) of ``low_res_masks``: four pixels a cell."""
        return 4 * self.grid[0], 4 * self.grid[1]

    @property
    def memory_mask_size(self) -> tuple[int, int]:
        """(height, width) of the masks that are encoded: sixteen pixels a cell."""
        return 16 * self.grid[0], 16 * self.grid[1]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MultiplexConfig:
        """Read ``tracker_config`` of a checkpoint of this network.

        Raises:
            ConfigError: an unknown key, a value of the wrong type, or values that don't fit.
        """
        flat = dict(values)
        for name, kind in (
            ("prompt_encoder_config", PromptEncoderConfig),
            ("mask_decoder_config", MaskDecoderConfig),
        ):
            flat[name] = kind._read(flat.get(name) or {}, name)
        return cls._read(flat, "tracker_config")

    def to_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` reads back."""
        out: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for part in ("prompt_encoder_config", "mask_decoder_config"):
            config = out[part]
            out[part] = {f.name: getattr(config, f.name) for f in fields(config)}
        return {**out, "model_type": MODEL_TYPE}
