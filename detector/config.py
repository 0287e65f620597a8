"""What a detector is made of: one configuration class for every part.

Field names are those of the transformers ``Sam3Config`` JSON, so that a checkpoint's
``detector_config`` reads straight into them. The defaults are the released model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maskstream.core.config import from_mapping, thawed
from maskstream.core.errors import ConfigError


def _square(value: Any) -> Any:
    """transformers allows [n, n] where n is meant."""
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
        return value[0]
    return value


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The vision transformer."""

    hidden_size: int = 1024
    intermediate_size: int = 4736
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 1008
    """Side of the square input, pixels."""
    patch_size: int = 14
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    window_size: int = 24
    """Side of an attention window, patches."""
    global_attn_indexes: tuple[int, ...] = (7, 15, 23, 31)
    """0-based layers that attend over the whole grid instead of windows."""
    pretrain_image_size: int = 336
    """Side of the images that the absolute positions were made for; they are tiled beyond it."""
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        _require(
            self.image_size % self.patch_size == 0,
            f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size}",
        )
        _require(
            self.hidden_size % (4 * self.num_attention_heads) == 0,
            f"ViT hidden_size {self.hidden_size} must be a multiple of 4 × num_attention_heads "
            f"({self.num_attention_heads}): rotary embedding turns pairs on two axes",
        )

    @property
    def grid_size(self) -> int:
        """Side of the patch grid."""
        return self.image_size // self.patch_size

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ViTConfig:
        """Read ``backbone_config``."""
        values = {key: _square(value) for key, value in data.items() if value is not None}
        rope = values.pop("rope_parameters", None) or {}
        values.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
        indexes = data.get("global_attn_indexes")
        if indexes is not None:
            values["global_attn_indexes"] = tuple(indexes)
        _require(
            data.get("layer_scale_init_value") is None,
            "backbone_config.layer_scale_init_value must be null: SAM 3 has no layer scale",
        )
        return from_mapping(cls, values, "backbone_config")


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """ViT and neck."""

    backbone_config: ViTConfig = field(default_factory=ViTConfig)
    fpn_hidden_size: int = 256
    scale_factors: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)

    def __post_init__(self) -> None:
        _require(
            self.scale_factors in ((4.0, 2.0, 1.0, 0.5), (4.0, 2.0, 1.0)),
            f"scale_factors must be 4, 2, 1 and 0.5, or the first three of them, not "
            f"{self.scale_factors}",
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VisionConfig:
        """Read ``vision_config``."""
        values = {key: value for key, value in data.items() if value is not None}
        values["backbone_config"] = ViTConfig.from_dict(data.get("backbone_config") or {})
        return from_mapping(cls, values, "vision_config")


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text transformer (CLIP's)."""

    vocab_size: int = 49408
    hidden_size: int = 1024
    intermediate_size: int = 4096
    projection_dim: int = 512
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    max_position_embeddings: int = 32
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """The encoder of points, boxes and masks given as exemplars."""

    hidden_size: int = 256
    num_layers: int = 3
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    dropout: float = 0.1
    hidden_act: str = "relu"
    roi_size: int = 7
    encode_points: bool = True
    """Hold the projections of points; transformers' files leave them out."""
    encode_masks: bool = False
    """Hold a projection of mask exemplars; without it a mask counts as its bounding box."""


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """The encoder that lets the image look at the prompt."""

    hidden_size: int = 256
    num_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    dropout: float = 0.1
    hidden_act: str = "relu"
    add_pooled_text: bool = False
    """Add the mean of the text tokens, through one linear layer, to every image token first."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The decoder of object queries."""

    hidden_size: int = 256
    num_layers: int = 6
    num_queries: int = 200
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    dropout: float = 0.1
    hidden_act: str = "relu"


@dataclass(frozen=True, kw_only=True)
class MaskHeadConfig:
    """Pixel decoder, masks and the semantic map."""

    hidden_size: int = 256
    num_upsampling_stages: int = 3
    num_attention_heads: int = 8
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """The whole detector."""

    vision_config: VisionConfig = field(default_factory=VisionConfig)
    text_config: TextConfig = field(default_factory=TextConfig)
    geometry_encoder_config: GeometryConfig = field(default_factory=GeometryConfig)
    detr_encoder_config: FusionConfig = field(default_factory=FusionConfig)
    detr_decoder_config: DecoderConfig = field(default_factory=DecoderConfig)
    mask_decoder_config: MaskHeadConfig = field(default_factory=MaskHeadConfig)
    geometry_token_always: bool = True
    """Give prompts without geometry the geometry encoder's CLS token, as the original model does
    (33 prompt tokens). transformers leaves it out where there is no box."""
    interactive_neck: bool = False
    """Hold a third neck, whose features SAM 3.1's tracker takes for clicks and given masks."""

    def __post_init__(self) -> None:
        sizes = {
            "fpn_hidden_size": self.vision_config.fpn_hidden_size,
            "geometry_encoder_config.hidden_size": self.geometry_encoder_config.hidden_size,
            "detr_encoder_config.hidden_size": self.detr_encoder_config.hidden_size,
            "detr_decoder_config.hidden_size": self.detr_decoder_config.hidden_size,
            "mask_decoder_config.hidden_size": self.mask_decoder_config.hidden_size,
        }
        _require(len(set(sizes.values())) == 1, f"these sizes must be equal: {sizes}")

    @property
    def hidden_size(self) -> int:
        """Channels everywhere behind the neck."""
        return self.vision_config.fpn_hidden_size

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return self.vision_config.backbone_config.image_size

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DetectorConfig:
        """Read ``detector_config`` of a checkpoint's JSON.

        Raises:
            ConfigError: values do not fit together.
        """
        parts: dict[str, Any] = {
            "vision_config": VisionConfig.from_dict(data.get("vision_config") or {})
        }
        kinds: dict[str, type] = {
            "text_config": TextConfig,
            "geometry_encoder_config": GeometryConfig,
            "detr_encoder_config": FusionConfig,
            "detr_decoder_config": DecoderConfig,
            "mask_decoder_config": MaskHeadConfig,
        }
        for name, kind in kinds.items():
            parts[name] = from_mapping(kind, data.get(name) or {}, name)
        for name in ("geometry_token_always", "interactive_neck"):
            if name in data:
                parts[name] = bool(data[name])
        return cls(**parts)

    def to_dict(self) -> dict[str, Any]:
        """The ``detector_config`` that transformers reads too."""
        data: dict[str, Any] = thawed(self)
        data["model_type"] = "sam3"
        if not self.interactive_neck:  # transformers knows no such thing
            del data["interactive_neck"]
        vision = data["vision_config"]
        vision["model_type"] = "sam3_vision_model"
        grid = self.vision_config.backbone_config.grid_size
        vision["backbone_feature_sizes"] = [[grid * n, grid * n] for n in (4, 2, 1)]
        backbone = vision["backbone_config"]
        backbone["model_type"] = "sam3_vit_model"
        backbone["rope_parameters"] = {
            "rope_type": "axial",
            "rope_theta": backbone.pop("rope_theta"),
        }
        data["text_config"]["model_type"] = "clip_text_model"
        return data
