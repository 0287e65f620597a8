"""Converts the state of a session to bytes in the safetensors format, and back.

Values that are no tensors become JSON, stored as one more tensor. Reading the bytes runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from maskstream.core.errors import CheckpointError

_TREE = "__tree__"
_TENSOR = "$tensor"


def state_to_bytes(state: Mapping[str, Any]) -> bytes:
    """Nested mappings, lists, plain values and tensors as bytes."""
    tensors: dict[str, Tensor] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            name = str(len(tensors))
            # Copied, because safetensors refuses two tensors that share storage.
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {_TENSOR: name}
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    text = json.dumps(plain(state), allow_nan=False, separators=(",", ":"))
    tensors[_TREE] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    return save(tensors)


def state_from_bytes(blob: bytes) -> dict[str, Any]:
    """Undo ``state_to_bytes``.

    Raises:
        CheckpointError: the bytes are not the state of a session.
    """
    try:
        tensors = load(blob)
        tree = json.loads(bytes(tensors.pop(_TREE).numpy()))
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"not the state of a session: {error}") from error

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {_TENSOR}:
                return tensors[value[_TENSOR]]
            return {key: whole(item) for key, item in value.items()}
        return [whole(item) for item in value] if isinstance(value, list) else value

    try:
        state = whole(tree)
    except KeyError as error:
        raise CheckpointError(f"the state of a session lacks tensor {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError("not the state of a session: no mapping")
    return state
