"""What a checkpoint holds, without loading it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from maskstream.core.checkpoint import read_config, resolve_checkpoint
from maskstream.core.checkpoint_folder import TOKENIZER_FILES, folder_header
from maskstream.core.official import convert_official, is_official_file, open_official
from maskstream.core.tensor_faults import Shape


@dataclass(frozen=True, slots=True)
class PartSummary:
    """One part of the model, such as ``detector_model.vision_encoder``."""

    name: str
    num_tensors: int
    num_parameters: int


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    """What :func:`inspect_checkpoint` found.

    Attributes:
        path: the folder or file.
        layout: "folder" or "official".
        num_bytes: size of all weights.
        dtypes: number of tensors by type, such as {"float32": 1803}.
        parts: in the order of the folder layout.
        settings: the configuration's main numbers by name.
        has_tokenizer: whether a tokenizer comes with it.
    """

    path: Path
    layout: str
    num_bytes: int
    dtypes: Mapping[str, int]
    parts: tuple[PartSummary, ...]
    settings: Mapping[str, Any]
    has_tokenizer: bool

    @property
    def num_parameters(self) -> int:
        """Values in all parts together."""
        return sum(part.num_parameters for part in self.parts)

    @property
    def num_tensors(self) -> int:
        """Tensors in all parts together."""
        return sum(part.num_tensors for part in self.parts)

    def __str__(self) -> str:
        width = max(len(part.name) for part in self.parts)
        dtypes = ", ".join(f"{name} ({count} tensors)" for name, count in self.dtypes.items())
        lines = [
            f"{self.path} ({self.layout} layout)",
            f"{self.num_parameters:,} values in {self.num_tensors:,} tensors, "
            f"{self.num_bytes / 1e6:,.1f} MB, {dtypes}",
            f"tokenizer: {'yes' if self.has_tokenizer else 'none (CLIP is used)'}",
            "",
        ]
        lines += [
            f"{part.name:<{width}}  {part.num_parameters:>13,}  {part.num_tensors:>5} tensors"
            for part in self.parts
        ]
        lines += ["", *(f"{name}: {value}" for name, value in self.settings.items())]
        return "\n".join(lines)


def inspect_checkpoint(name_or_path: str | Path) -> CheckpointSummary:
    """Summarise a checkpoint from its headers alone.

    Raises:
        CheckpointError: it cannot be read, or an official file does not hold exactly its tensors.
    """
    path = resolve_checkpoint(name_or_path)
    official = is_official_file(path)
    header = _official_header(path) if official else folder_header(path)
    config = read_config(path)
    tensors: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for name, (shape, _) in header.items():
        part = _part(name)
        tensors[part] += 1
        parameters[part] += prod(shape)
    dtypes = Counter(str(dtype).removeprefix("torch.") for _, dtype in header.values())
    return CheckpointSummary(
        path=path,
        layout="official" if official else "folder",
        num_bytes=sum(prod(shape) * dtype.itemsize for shape, dtype in header.values()),
        dtypes=dict(dtypes.most_common()),
        parts=tuple(PartSummary(name, tensors[name], parameters[name]) for name in sorted(tensors)),
        settings=_settings(config),
        has_tokenizer=not official and (path / TOKENIZER_FILES[0]).is_file(),
    )


def _official_header(path: Path) -> dict[str, tuple[Shape, torch.dtype]]:
    tensors = convert_official(open_official(path))
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def _part(name: str) -> str:
    """``detector_model.vision_encoder`` and its like; the tracker's constants count as one."""
    pieces = name.split(".")
    divided = pieces[0] == "detector_model" or (pieces[0] == "tracker_model" and len(pieces) > 2)
    return ".".join(pieces[:2]) if divided else pieces[0]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    paths = {
        "image size": "detector_config.vision_config.backbone_config.image_size",
        "patch size": "detector_config.vision_config.backbone_config.patch_size",
        "vision width": "detector_config.vision_config.backbone_config.hidden_size",
        "vision layers": "detector_config.vision_config.backbone_config.num_hidden_layers",
        "text width": "detector_config.text_config.hidden_size",
        "text layers": "detector_config.text_config.num_hidden_layers",
        "vocabulary": "detector_config.text_config.vocab_size",
        "context length": "detector_config.text_config.max_position_embeddings",
        "fusion layers": "detector_config.detr_encoder_config.num_layers",
        "decoder layers": "detector_config.detr_decoder_config.num_layers",
        "object queries": "detector_config.detr_decoder_config.num_queries",
        "mask memories": "tracker_config.num_maskmem",
        "memory attention layers": "tracker_config.memory_attention_num_layers",
    }
    found = {name: _look_up(config, path) for name, path in paths.items()}
    return {name: value for name, value in found.items() if value is not None}


def _look_up(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
