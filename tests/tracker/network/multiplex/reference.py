"""What the original SAM 3.1 computes at full width on a grid of 16 × 16 cells.

Recorded on weights that anyone can make again from the tensors' names, so neither its code nor its
gated weights are needed. ``data/`` holds the numbers, the rules are below.
"""

from __future__ import annotations

import json
import math
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from maskstream.core.official import convert_tensors
from maskstream.core.official_table_multiplex import multiplex_tensors
from maskstream.core.position import sine_position_2d
from maskstream.tracker.config import PromptEncoderConfig
from maskstream.tracker.network.maps import FrameEmbedding
from maskstream.tracker.network.multiplex.config import MultiplexConfig
from maskstream.tracker.network.multiplex.frame import MultiplexFrame
from maskstream.tracker.network.multiplex.model import MultiplexModel

DATA = Path(__file__).parent / "data"
GRID, SIDE, WIDTH = 16, 224, 256
BOUND = 1e-4
"""Absolute; other processors' kernels differ by 1.6e-5."""


def named_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of the official file, made from its name."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "weight" and len(shape) == 1:
        return 1.0 + 0.05 * x
    if name.endswith("pred_obj_score_head.layers.2.bias"):
        return torch.full(shape, 3.0)
    if "output_hypernetworks_mlps." in name and name.endswith(".layers.2.bias"):
        return 0.02 * x - 0.1
    if leaf in ("bias", "in_proj_bias"):
        return 0.02 * x
    if leaf == "gamma":
        return 0.1 * x.abs()
    if name.endswith(("mask_tokens.weight", "iou_token.weight", "obj_score_token.weight")):
        return 2 * x
    if len(shape) >= 2 and leaf in ("weight", "in_proj_weight", "text_projection"):
        if "embedding" in name or "embed.weight" in name or "token" in name.rsplit(".", 2)[-2]:
            return 0.5 * x
        return x / math.sqrt(math.prod(shape[1:]))
    return 0.5 * x


@cache
def facts() -> Any:
    """What happened in the scenes, and how the units were called."""
    return json.loads((DATA / "facts.json").read_text())


@cache
def _file(name: str) -> Any:
    return safe_open(DATA / name, framework="pt")


def array(name: str) -> Tensor:
    """A recorded array, 16-bit floats as float32."""
    file = "scenes.safetensors" if name.startswith("S") else "units.safetensors"
    value: Tensor = _file(file).get_tensor(name)
    return value.float() if value.dtype == torch.float16 else value


def config() -> MultiplexConfig:
    return MultiplexConfig(
        image_size=SIDE, prompt_encoder_config=PromptEncoderConfig(image_size=SIDE)
    )


@cache
def named_model() -> MultiplexModel:
    """The network with the weights that the reference was recorded on."""
    table = [entry for entry in multiplex_tensors() if entry.name.startswith("tracker.")]
    official = {entry.name: named_weight(entry.name, entry.shape) for entry in table}
    tensors = convert_tensors(table, official)
    model = MultiplexModel(config()).eval()
    model.load_state_dict({k.removeprefix("tracker_model."): v for k, v in tensors.items()})
    return model.requires_grad_(False)


def waves(table: Tensor, size: int, time: float) -> Tensor:
    """(1, C, size, size) plane waves, one a channel."""
    a, ky, kx, om, ph = (column[:, None, None] for column in table.double().unbind(1))
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    phase = ky * at[None, :, None] + kx * at[None, None, :] + om * time + ph
    return (a * torch.sin(2 * math.pi * phase)).float()[None]


def frame_at(time: float, coefficients: str = "coef") -> MultiplexFrame:
    """The features of a frame, as they come out of the neck and the decoders' projections."""

    def branch(name: str) -> FrameEmbedding:
        s0, s1, s2 = (
            waves(array(f"{coefficients}/{name}/s{level}"), size, time)
            for level, size in enumerate((4 * GRID, 2 * GRID, GRID))
        )
        return FrameEmbedding((s0, s1), s2, sine_position_2d(GRID, GRID, WIDTH))

    return MultiplexFrame(branch("propagation"), branch("interactive"))


def embedding(image: Tensor, s0: Tensor, s1: Tensor) -> FrameEmbedding:
    return FrameEmbedding((s0, s1), image, sine_position_2d(GRID, GRID, WIDTH))


def stats(x: Tensor) -> Tensor:
    x = x.double()
    return torch.stack((x.mean(), x.square().mean().sqrt(), x.abs().max()))


def close(ours: Tensor, name: str) -> None:
    """Assert that an array is what was recorded."""
    wanted = array(name)
    assert ours.shape == wanted.shape, f"{name}: {tuple(ours.shape)}, not {tuple(wanted.shape)}"
    worst = float((ours.double() - wanted.double()).abs().max()) if wanted.numel() else 0.0
    assert worst <= BOUND, f"{name}: {worst} apart"
