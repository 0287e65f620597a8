"""Checkpoints: one way to read the folder layout and the official files of SAM 3 and 3.1.

A path stands for either; what comes out always goes by the names of the folder layout
(``detector_model.*``, ``tracker_neck.*``, ``tracker_model.*``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskstream.core.checkpoint_folder import (
    check_finite,
    iterate_folder,
    read_companions,
    read_folder_config,
    write_folder,
)
from maskstream.core.checkpoint_source import resolve_checkpoint
from maskstream.core.errors import CheckpointError
from maskstream.core.official import (
    convert_official,
    is_official_file,
    official_config,
    open_official,
    release_of,
)
from maskstream.core.tensor_faults import check_tensors, shapes_of

__all__ = [
    "convert_checkpoint",
    "load_strict",
    "read_config",
    "read_tensors",
    "resolve_checkpoint",
    "under",
    "write_folder",
]


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a checkpoint, as in ``config.json``.

    An official file carries none: it gets that of the released model.

    Raises:
        CheckpointError: it is missing, damaged, or describes another model.
    """
    return official_config(release_of(path)) if is_official_file(path) else read_folder_config(path)


def read_tensors(
    path: Path,
    prefixes: Iterable[str] = ("",),
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """Tensors of a checkpoint, each in memory of its own.

    Values are copied once on the way from the file to ``device``, so that a file that changes or
    vanishes later harms nothing.

    Args:
        path: a folder or an official file, see :func:`resolve_checkpoint`.
        prefixes: only names that start with one of these.
        dtype: convert to this float type; by default they stay as stored.
        device: where they go.

    Returns:
        By name in the folder layout, prefix included.

    Raises:
        CheckpointError: the checkpoint is damaged, a tensor holds NaN or infinite values (after
            conversion: a value can be too large for float16), or there is none to return.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise CheckpointError(f"weights are floating-point numbers and cannot become {dtype}")
    starts = tuple(prefixes)
    result: dict[str, Tensor] = {}
    for name, mapped in _iterate(path, starts):
        tensor = mapped.to(dtype=dtype, copy=True, memory_format=torch.contiguous_format)
        check_finite(name, tensor, context=str(path))
        result[name] = tensor.to(device)
    if not result:
        raise CheckpointError(f"{path} has no tensor whose name starts with {' or '.join(starts)}")
    return result


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, by what follows it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    context: str,
    optional: Iterable[str] = (),
) -> tuple[str, ...]:
    """Give ``module`` these tensors, not copies of them.

    Build the module under :func:`maskstream.core.unfilled.unfilled` to allocate nothing twice. Its
    dtype and device become those of the tensors.

    Args:
        module: what to fill.
        tensors: by name within the module.
        context: what is being loaded, for error messages.
        optional: names that may be missing, each with all below it. On a meta-built module they
            become zeros; elsewhere they keep their values.

    Returns:
        The optional names that were missing.

    Raises:
        CheckpointError: names every tensor that is missing, unknown or misshapen.
    """
    expected = module.state_dict()
    absent = check_tensors(
        shapes_of(expected),
        shapes_of(tensors),
        context=context,
        optional=optional,
    )
    like = next(iter(tensors.values()), torch.empty(0))
    filled = dict(tensors)
    for name in absent:
        present = expected[name]
        filled[name] = (
            torch.zeros(present.shape, dtype=like.dtype, device=like.device)
            if present.is_meta
            else present.to(dtype=like.dtype, device=like.device)
        )
    module.load_state_dict(filled, assign=True)
    return absent


def convert_checkpoint(
    source: str | Path,
    destination: str | Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer_files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write any readable checkpoint as a folder.

    Args:
        source: as for :func:`resolve_checkpoint`.
        destination: the folder to write.
        dtype: convert the weights to this float type.
        tokenizer_files: contents by name, for a source that has none.
        overwrite: replace what is at the destination.

    Raises:
        CheckpointError: the source cannot be read.
        OutputError: the destination cannot be written.
    """
    path = resolve_checkpoint(source)
    config = read_config(path)
    if dtype is not None:
        config["dtype"] = str(dtype).removeprefix("torch.")
    companions = {} if is_official_file(path) else read_companions(path)
    files = {**(tokenizer_files or {}), **companions}
    tensors = read_tensors(path, dtype=dtype)
    return write_folder(destination, config, tensors, files, overwrite=overwrite)


def _iterate(path: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    if is_official_file(path):
        return iter(convert_official(open_official(path), prefixes).items())
    return iterate_folder(path, prefixes)
