"""The folder layout on disk: ``config.json``, safetensors in one file or in shards, tokenizer.

Names are those of the transformers ``Sam3VideoModel``: ``detector_model.*``, ``tracker_neck.*``
and ``tracker_model.*``. SAM 3.1, which transformers does not have, has an ``interactive_neck.*``
besides, and a ``model_type`` of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from maskstream.core.errors import CheckpointError, OutputError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MODEL_TYPE = "sam3_video"
MULTIPLEX_MODEL_TYPE = "sam3_multiplex_video"
"""Of SAM 3.1, which transformers does not know; the architecture has the same name here."""
PARTS = ("detector_model.", "tracker_neck.", "interactive_neck.", "tracker_model.")
"""What the names of all tensors start with."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
MAX_SHARD_BYTES = 5 * 10**9

# transformers 5 writes the tracker's prefix twice when it saves, and reads either.
_DOUBLED, _SINGLE = "tracker_model.tracker_model.", "tracker_model."
_FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def read_folder_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a checkpoint folder.

    Raises:
        CheckpointError: it is missing, is no JSON object, or describes another model.
    """
    path = folder / CONFIG_FILE
    config = _read_json(path)
    found = config.get("model_type")
    if found not in (MODEL_TYPE, MULTIPLEX_MODEL_TYPE):
        raise CheckpointError(
            f"{path}: model_type must be {MODEL_TYPE!r}, not {found!r}; "
            "this is the checkpoint of another model"
        )
    for part in ("detector_config", "tracker_config"):
        if not isinstance(config.get(part), dict):
            raise CheckpointError(f"{path}: {part} must be an object")
    return config


def folder_header(folder: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of every float tensor, by name, without reading their values.

    Raises:
        CheckpointError: a file is missing or damaged, a name occurs twice, or belongs to no part
            of the model.
    """
    header: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    paths, listed = _weight_files(folder)
    stored_names: set[str] = set()
    for path in paths:
        with _opened(path) as (file, names):
            for stored, name in names.items():
                if name in stored_names:
                    raise CheckpointError(f"{path}: tensor {name} is stored twice")
                stored_names.add(name)
                view = file.get_slice(stored)
                dtype = _FLOATS.get(view.get_dtype())
                if dtype is not None:
                    header[name] = (tuple(view.get_shape()), dtype)
    absent = sorted(listed - stored_names)
    if absent:
        names_shown = ", ".join(absent[:20])
        raise CheckpointError(f"{folder}: {INDEX_FILE} lists tensors no file has: {names_shown}")
    unknown = sorted(name for name in header if not name.startswith(PARTS))
    if unknown:
        raise CheckpointError(
            f"{folder} holds tensors of no part of the model ({', '.join(PARTS)}): "
            + ", ".join(unknown[:20])
        )
    return header


def iterate_folder(folder: Path, prefixes: Iterable[str] = ("",)) -> Iterator[tuple[str, Tensor]]:
    """The float tensors whose names start with one of ``prefixes``, one by one.

    They are mapped from the file: copy them before it may change.

    Raises:
        CheckpointError: as :func:`folder_header`.
    """
    starts = tuple(prefixes)
    wanted = {name for name in folder_header(folder) if name.startswith(starts)}
    for path in _weight_files(folder)[0]:
        with _opened(path) as (file, names):
            for stored, name in names.items():
                if name in wanted:
                    yield name, file.get_tensor(stored)


def write_folder(
    folder: Path | str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    tokenizer_files: Mapping[str, bytes] | None = None,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
) -> Path:
    """Write a checkpoint folder that this project and transformers read.

    The folder appears whole or not at all: it is written beside its destination and renamed.

    Args:
        folder: where to; its parents are made.
        config: contents of ``config.json``; ``model_type`` is added where it is missing.
        tensors: by name in the folder layout.
        tokenizer_files: contents by file name (``tokenizer.json``, ...).
        max_shard_bytes: more than this is divided among several files.
        overwrite: replace what is there.

    Raises:
        OutputError: the folder is not empty and ``overwrite`` is not set, or writing failed.
        CheckpointError: a tensor holds NaN or infinite values.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists already; choose another name or allow overwriting")
    for name, tensor in tensors.items():
        check_finite(name, tensor, context=f"{folder}")
    work = folder.parent / f".{folder.name}.{uuid4().hex[:8]}.tmp"
    try:
        work.mkdir(parents=True)
        kind = config.get("model_type", MODEL_TYPE)
        names = {MODEL_TYPE: "Sam3VideoModel", MULTIPLEX_MODEL_TYPE: "Sam3MultiplexVideoModel"}
        full = {"architectures": [names[kind]], **config, "model_type": kind}
        (work / CONFIG_FILE).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
        for name, content in (tokenizer_files or {}).items():
            (work / name).write_bytes(content)
        _write_weights(work, tensors, max_shard_bytes)
        _flush(work)
        _move_into_place(work, folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write the checkpoint {folder}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def read_companions(folder: Path) -> dict[str, bytes]:
    """Contents of the tokenizer's and the processor's files that the folder has, by name."""
    names = (*TOKENIZER_FILES, *PROCESSOR_FILES)
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def check_finite(name: str, tensor: Tensor, *, context: str) -> None:
    """Raise CheckpointError if ``tensor`` holds NaN or an infinite value."""
    # The sum settles nearly every case in one pass; only an overflow needs a second look.
    if not bool(tensor.sum().isfinite()) and not bool(tensor.isfinite().all()):
        raise CheckpointError(f"{context}: tensor {name} holds NaN or infinite values")


def _write_weights(work: Path, tensors: Mapping[str, Tensor], max_shard_bytes: int) -> None:
    shards = _divide(tensors, max_shard_bytes)
    if len(shards) == 1:
        _write_shard(work / WEIGHTS_FILE, tensors, shards[0])
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(work / file_name, tensors, names)
        weight_map.update(dict.fromkeys(names, file_name))
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (work / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _divide(tensors: Mapping[str, Tensor], max_bytes: int) -> list[list[str]]:
    """Names by shard, in order; a tensor above ``max_bytes`` gets a shard of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _write_shard(path: Path, tensors: Mapping[str, Tensor], names: Iterable[str]) -> None:
    # safetensors takes no views that share memory: each tensor gets memory of its own.
    own = {
        name: tensors[name].detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name in names
    }
    save_file(own, path, metadata={"format": "pt"})
    # It creates files only their owner can read; the configuration has the usual mode.
    shutil.copymode(path.parent / CONFIG_FILE, path)


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _move_into_place(work: Path, folder: Path) -> None:
    """Rename ``work`` to ``folder``; what was there is put back if that fails."""
    old = folder.parent / f"{work.name}.old"
    replaces = folder.exists()
    if replaces:
        folder.rename(old)
    try:
        work.rename(folder)
    except OSError:
        if replaces:
            old.rename(folder)
        raise
    if replaces:
        shutil.rmtree(old, ignore_errors=True)


def _weight_files(folder: Path) -> tuple[list[Path], set[str]]:
    """The files that hold tensors, and the tensors an index promises (none without an index)."""
    index = folder / INDEX_FILE
    if not index.is_file():
        path = folder / WEIGHTS_FILE
        if not path.is_file():
            raise CheckpointError(f"{folder} has neither {WEIGHTS_FILE} nor {INDEX_FILE}")
        return [path], set()
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map must map tensor names to files")
    names = sorted({str(name) for name in weight_map.values()})
    # Only bare file names: an index must not lead out of its folder.
    absent = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if absent:
        raise CheckpointError(f"{folder} lacks files that {INDEX_FILE} names: {', '.join(absent)}")
    return [folder / name for name in names], {_plain(name) for name in weight_map}


def _plain(stored: str) -> str:
    return stored.replace(_DOUBLED, _SINGLE, 1) if stored.startswith(_DOUBLED) else stored


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """The open file, and for each stored tensor the name it goes by here."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            stored_names: list[str] = file.keys()
            yield file, {stored: _plain(stored) for stored in stored_names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({error}); is the download complete?"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(data).__name__}")
    return data
