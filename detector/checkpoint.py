"""A detector's tensors as a checkpoint names them, and as the module does.

The folder layout's names are the module's, under ``detector_model.``; the tracker's necks stand
under ``tracker_neck.`` and ``interactive_neck.``. One thing differs: the ViT's query, key and value
projections are one layer here, because one large product is faster than three.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

NECKS = ("tracker_neck.", "interactive_neck.")
PREFIXES = ("detector_model.", *NECKS)
"""Where a folder keeps the tensors of a detector."""

OPTIONAL = ("geometry_encoder.points_", "geometry_encoder.masks_")
"""Parts that transformers' files leave out, by the start of their names in the module."""

_SPLIT = re.compile(r"(.*backbone\.layers\.\d+\.attention\.)([qkv])_proj\.(weight|bias)")
_FUSED = re.compile(r"(.*backbone\.layers\.\d+\.attention\.)qkv_proj\.(weight|bias)")


def to_module(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Checkpoint names to the names of :class:`maskstream.detector.model.Detector`."""
    out: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        own = name.removeprefix("detector_model.")
        split = _SPLIT.fullmatch(own)
        if split:
            parts.setdefault(f"{split[1]}qkv_proj.{split[3]}", {})[split[2]] = tensor
        else:
            out[own] = tensor
    for name, part in parts.items():
        if len(part) == 3:
            out[name] = torch.cat([part["q"], part["k"], part["v"]])
        else:  # hand on what there is, so that strict loading names what is missing
            stem, kind = name.rsplit("qkv_proj.", 1)
            out.update({f"{stem}{letter}_proj.{kind}": tensor for letter, tensor in part.items()})
    return out


def to_checkpoint(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of :class:`maskstream.detector.model.Detector` to checkpoint names."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        prefix = "" if name.startswith(NECKS) else "detector_model."
        fused = _FUSED.fullmatch(name)
        if fused:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{prefix}{fused[1]}{letter}_proj.{fused[2]}"] = part.contiguous()
        else:
            out[prefix + name] = tensor
    return out
