"""Reading the official ``sam3.pt`` or ``sam3.1_multiplex.pt``, strictly, as the folder layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

# Only the class: it is what torch.load raises for a file that holds more than tensors.
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from torch import Tensor

from maskstream.core.errors import CheckpointError
from maskstream.core.official_table import How, OfficialTensor, official_tensors
from maskstream.core.official_table_multiplex import MARK, multiplex_tensors
from maskstream.core.tensor_faults import check_tensors


def is_official_file(path: Path) -> bool:
    """Whether ``path`` is a file that should be read as the official ``sam3.pt``."""
    return path.is_file() and path.suffix in {".pt", ".pth"}


def official_config(release: str = "sam3") -> dict[str, Any]:
    """The configuration of a released model, in the JSON structure of the folder layout.

    Args:
        release: "sam3" or "sam3.1".
    """
    preset = files("maskstream.configs").joinpath("model", f"{release}.yaml")
    config = yaml.safe_load(preset.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise CheckpointError(
            f"configs/model/{release}.yaml must hold a mapping; reinstall maskstream"
        )
    return config


def release_of(path: Path) -> str:
    """Which release an official file is of: "sam3" or "sam3.1".

    Raises:
        CheckpointError: the file is unreadable.
    """
    return "sam3.1" if is_multiplex(_load(path)) else "sam3"


def is_multiplex(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of SAM 3.1."""
    return MARK in tensors


def _table_of(tensors: Mapping[str, Tensor]) -> tuple[OfficialTensor, ...]:
    return multiplex_tensors() if is_multiplex(tensors) else official_tensors()


def open_official(path: Path) -> dict[str, Tensor]:
    """The tensors of an official file by their official names, mapped into memory, all checked.

    Nothing is read from disk yet except the names, shapes and types.

    Raises:
        CheckpointError: the file is unreadable, or a tensor is missing, unknown or misshapen
            (each named as it is called in the file).
    """
    tensors = _load(path)
    table = _table_of(tensors)
    context = f"{path} (official {'SAM 3.1' if is_multiplex(tensors) else 'SAM 3'} layout)"
    expected = {entry.name: entry.shape for entry in table}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    # Rotary tables are computed here, and files of SAM 3.1 may lack them.
    spare = {entry.name for entry in table if entry.how is How.DROP}
    optional = spare if is_multiplex(tensors) else ()
    check_tensors(expected, found, context=context, optional=optional)
    for entry in table:
        if entry.how is not How.DROP and not tensors[entry.name].is_floating_point():
            dtype = tensors[entry.name].dtype
            raise CheckpointError(f"{path}: tensor {entry.name} must hold floats, not {dtype}")
    return tensors


def convert_official(
    tensors: Mapping[str, Tensor], prefixes: Iterable[str] = ("",)
) -> dict[str, Tensor]:
    """Rename and reshape official tensors into those of the folder layout.

    Args:
        tensors: by official name, complete (see :func:`open_official`).
        prefixes: only targets whose names start with one of these are made.

    Returns:
        By name in the folder layout. Views of the given tensors wherever that is possible.
    """
    return convert_tensors(_table_of(tensors), tensors, prefixes)


def convert_tensors(
    table: Iterable[OfficialTensor],
    tensors: Mapping[str, Tensor],
    prefixes: Iterable[str] = ("",),
) -> dict[str, Tensor]:
    """As :func:`convert_official`, for the tensors of a table alone."""
    starts = tuple(prefixes)
    result: dict[str, Tensor] = {}
    stacks: dict[str, list[Tensor]] = {}
    for entry in table:
        if entry.how is How.DROP:
            continue
        tensor = tensors[entry.name]
        for target, part in zip(entry.targets, _parts(entry, tensor), strict=True):
            if not target.startswith(starts):
                continue
            if entry.how is How.STACK:
                stacks.setdefault(target, []).append(part)
            else:
                result[target] = part
    result.update({target: torch.cat(rows) for target, rows in stacks.items()})
    return result


def _parts(entry: OfficialTensor, tensor: Tensor) -> tuple[Tensor, ...]:
    """What each target of ``entry`` gets."""
    match entry.how:
        case How.SPLIT:
            return tensor.chunk(len(entry.targets))
        case How.TRANSPOSE:
            return (tensor.t(),)
        case How.SKIP_FIRST_TOKEN:
            return (tensor[:, 1:],)
        case How.DROP:
            return ()
        case How.COPY | How.STACK:
            return (tensor,) * len(entry.targets)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no file {path}") from error
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a torch file of tensors ({_first_line(error)}); "
            "is the download complete?"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if isinstance(content, dict):
        content = {_today(name): value for name, value in content.items()}
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} must hold a dict of tensors, not {type(content).__name__}")
    odd = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise CheckpointError(f"{path} holds entries that are not tensors: {', '.join(odd[:10])}")
    return content


def _today(name: Any) -> Any:
    """A tensor's name; files from before the release of SAM 3.1 have other first parts."""
    if isinstance(name, str):
        for old, new in (("sam3_model.", "detector."), ("sam2_predictor.", "tracker.")):
            if name.startswith(old):
                return new + name.removeprefix(old)
    return name


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
