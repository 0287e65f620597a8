"""transformers' SAM 3 beside ours: small configurations, shared random weights, a way to compare.

transformers calls torchvision in one place, ROI align for box exemplars, and refuses to build its
model without it. No torchvision fits the pinned torch, so the tests stand in for that one function
with :func:`roi_align_by_definition`, a plain loop over boxes, bins and samples.
"""

from __future__ import annotations

import copy
import importlib
import math
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from transformers import Sam3VideoConfig
from transformers.initialization import no_init_weights
from transformers.utils import import_utils

from maskstream.detector.checkpoint import PREFIXES, to_checkpoint, to_module
from maskstream.detector.config import DetectorConfig
from maskstream.detector.model import Detector
from tests.support import randomise, roi_align_by_definition

TOLERANCE = 1e-4
"""Largest error allowed, as a part of the reference output's range."""

TINY = Path(__file__).parents[2] / "configs" / "model" / "tiny.yaml"


def transformers_sam3() -> types.ModuleType:
    """transformers' modules for SAM 3, made to run without torchvision."""
    modeling = importlib.import_module("transformers.models.sam3.modeling_sam3")
    if not import_utils.is_torchvision_available():
        import_utils.BACKENDS_MAPPING["torchvision"] = (lambda: True, "")
        ops = types.SimpleNamespace(roi_align=roi_align_by_definition)
        modeling.torchvision = types.SimpleNamespace(ops=ops)
    return modeling


def video_model_class() -> type[nn.Module]:
    """transformers' ``Sam3VideoModel``."""
    transformers_sam3()
    module = importlib.import_module("transformers.models.sam3_video.modeling_sam3_video")
    model: type[nn.Module] = module.Sam3VideoModel
    return model


def tiny_config() -> dict[str, Any]:
    """The ``config.json`` of the embedded model."""
    config: dict[str, Any] = yaml.safe_load(TINY.read_text())
    return config


def small_config(
    *,
    image: int,
    patch: int,
    window: int,
    pretrain: int,
    vit: tuple[int, int, int, int],
    global_layers: list[int],
    width: int,
    heads: int,
    layers: int,
    queries: int,
    text: tuple[int, int, int, int],
    dropout: float = 0.0,
) -> dict[str, Any]:
    """A ``config.json`` of a small model.

    Args:
        vit: width, MLP width, layers, heads.
        width: channels behind the neck; ``heads`` and ``layers`` go with it.
        text: width, layers, heads, longest prompt in tokens.
    """
    config = copy.deepcopy(tiny_config())
    detector = config["detector_config"]
    grid = image // patch
    vision = {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": width,
        "scale_factors": [4.0, 2.0, 1.0, 0.5],
        "backbone_feature_sizes": [[grid * n, grid * n] for n in (4, 2, 1)],
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": vit[0],
            "intermediate_size": vit[1],
            "num_hidden_layers": vit[2],
            "num_attention_heads": vit[3],
            "image_size": image,
            "patch_size": patch,
            "window_size": window,
            "global_attn_indexes": global_layers,
            "pretrain_image_size": pretrain,
        },
    }
    detector["vision_config"] = vision
    detector["text_config"].update(
        vocab_size=120,
        hidden_size=text[0],
        intermediate_size=2 * text[0],
        projection_dim=24,
        num_hidden_layers=text[1],
        num_attention_heads=text[2],
        max_position_embeddings=text[3],
        bos_token_id=118,
        eos_token_id=119,
        pad_token_id=119,
    )
    transformer = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": 3 * width,
        "dropout": dropout,
    }
    detector["geometry_encoder_config"].update(transformer, num_layers=max(1, layers - 1))
    detector["detr_encoder_config"].update(transformer, num_layers=layers)
    detector["detr_decoder_config"].update(transformer, num_layers=layers, num_queries=queries)
    detector["mask_decoder_config"].update(hidden_size=width, num_attention_heads=heads)
    tracker = config["tracker_config"]
    tracker.update(
        image_size=image,
        vision_config=vision,
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_attention_hidden_size=width,
        memory_encoder_hidden_size=width,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
    )
    tracker["mask_decoder_config"].update(hidden_size=width, iou_head_hidden_dim=width)
    tracker["prompt_encoder_config"].update(hidden_size=width, image_size=image, patch_size=patch)
    return config


CONFIGS: dict[str, dict[str, Any]] = {
    # 12×12 patches in windows of 5: padded windows, absolute positions cut while tiled.
    "padded_windows": small_config(
        image=168, patch=14, window=5, pretrain=70, vit=(64, 96, 4, 4), global_layers=[1, 3],
        width=32, heads=4, layers=3, queries=17, text=(32, 2, 2, 32),
    ),
    # 7×7 patches within one window of 8; positions of a larger grid; short prompts; dropout set.
    "one_window": small_config(
        image=56, patch=8, window=8, pretrain=72, vit=(32, 48, 2, 2), global_layers=[1],
        width=16, heads=2, layers=2, queries=5, text=(40, 3, 5, 12), dropout=0.1,
    ),
    # 8×8 patches in four windows; many narrow heads; deeper stacks than anywhere else.
    "many_heads": small_config(
        image=128, patch=16, window=4, pretrain=64, vit=(48, 100, 5, 6), global_layers=[4],
        width=48, heads=8, layers=4, queries=9, text=(24, 1, 3, 20),
    ),
    "tiny": tiny_config(),
}  # fmt: skip


@dataclass(slots=True)
class Pair:
    """transformers' model and our detector with the same weights.

    Attributes:
        reference: a ``Sam3VideoModel``; its ``detector_model`` is the ``Sam3Model``.
        detector: ours, in eval mode, with transformers' choice about the geometry token.
    """

    reference: Any
    detector: Detector


def transformers_config(config: Mapping[str, Any]) -> Sam3VideoConfig:
    """The configuration object; our own keys mean nothing to it."""
    values = copy.deepcopy(dict(config))
    values.pop("architectures", None)
    return Sam3VideoConfig(**values)


def detector_config(config: Mapping[str, Any], **changes: Any) -> DetectorConfig:
    """Our configuration of the detector that transformers has."""
    own = DetectorConfig.from_dict(config["detector_config"])
    geometry = replace(own.geometry_encoder_config, encode_points=False)
    values: dict[str, Any] = {"geometry_encoder_config": geometry, "geometry_token_always": False}
    return replace(own, **{**values, **changes})


def build_reference(config: Mapping[str, Any], seed: int = 0) -> Any:
    """A ``Sam3VideoModel`` in eval mode with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = video_model_class()(transformers_config(config)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            randomise(name, parameter, generator)
    return model.requires_grad_(False)


def detector_weights(reference: nn.Module) -> dict[str, Tensor]:
    """The reference's detector tensors under our module's names."""
    tensors = reference.state_dict()
    return to_module({n: tensor for n, tensor in tensors.items() if n.startswith(PREFIXES)})


def build_pair(config: Mapping[str, Any], seed: int = 0) -> Pair:
    """Both models with the reference's random weights, loaded strictly into ours."""
    reference = build_reference(config, seed)
    detector = Detector(detector_config(config)).eval()
    detector.load_state_dict(detector_weights(reference), strict=True)
    return Pair(reference, detector.requires_grad_(False))


def build_shared_pair(config: Mapping[str, Any], seed: int = 0) -> Pair:
    """As :func:`build_pair` for large models: both hold the very same tensors, filled once."""
    with torch.device("meta"):
        detector = Detector(detector_config(config)).eval()
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.empty(t.shape) for name, t in detector.state_dict().items()}
    for name, tensor in weights.items():
        randomise(name, tensor, generator)
    detector.load_state_dict(weights, strict=True, assign=True)
    transformers_sam3()
    with no_init_weights():  # leaves the memory of the weights untouched until they are assigned
        reference = video_model_class()(transformers_config(config)).eval()
    missing, unexpected = reference.load_state_dict(
        to_checkpoint(weights), strict=False, assign=True
    )
    if unexpected or not all(name.startswith("tracker_model.") for name in missing):
        raise AssertionError(f"unexpected {unexpected}, missing {missing}")
    return Pair(reference.requires_grad_(False), detector.requires_grad_(False))


@contextmanager
def watched(seen: dict[str, Any], **modules: nn.Module) -> Iterator[None]:
    """While open, the last output of each module is put under its name in ``seen``."""

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, arguments: Any, output: Any) -> None:
            seen[name] = output

        return keep

    handles = [m.register_forward_hook(keeper(name)) for name, m in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference as a part of the range of the reference.

    Raises:
        AssertionError: shapes differ, or the reference says nothing (is constant or not finite).
    """
    if ours.shape != theirs.shape:
        raise AssertionError(f"shape {tuple(ours.shape)} against {tuple(theirs.shape)}")
    spread = (theirs.max() - theirs.min()).item()
    if not math.isfinite(spread) or spread < 1e-3:
        raise AssertionError(f"the reference is degenerate: it spreads over {spread}")
    return (ours - theirs).abs().max().item() / spread


def full_size_config(image: int) -> dict[str, Any]:
    """The released model's widths and depths, on a smaller image."""
    config: dict[str, Any] = yaml.safe_load((TINY.parent / "sam3.yaml").read_text())
    grid = image // 14
    detector, tracker = config["detector_config"], config["tracker_config"]
    for part in (detector, tracker):
        part["vision_config"] = copy.deepcopy(part["vision_config"])
        part["vision_config"]["backbone_config"]["image_size"] = image
        part["vision_config"]["backbone_feature_sizes"] = [[grid * n] * 2 for n in (4, 2, 1)]
    tracker.update(image_size=image, memory_attention_rope_feat_sizes=[grid, grid])
    tracker["prompt_encoder_config"]["image_size"] = image
    return config
