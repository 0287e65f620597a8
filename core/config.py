"""Typed configuration out of the JSON of a checkpoint and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from maskstream.core.errors import ConfigError

T = TypeVar("T")


def from_mapping(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Build the dataclass ``cls`` from the keys of ``data`` that it has fields for.

    Other keys are left alone: a checkpoint's JSON carries bookkeeping that is of no use here, and
    whether the configuration describes the weights is settled when they are loaded, strictly.
    Lists become tuples, so that configurations stay hashable.

    Raises:
        ConfigError: ``data`` is no mapping, or a value does not suit its field.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} must be a mapping, not {type(data).__name__}")
    fields = {f.name for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    values = {key: _frozen(value) for key, value in data.items() if key in fields}
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def thawed(value: Any) -> Any:
    """A plain structure for JSON: dataclasses to dicts, tuples to lists, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: thawed(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [thawed(item) for item in value]
    if isinstance(value, dict):
        return {key: thawed(item) for key, item in value.items()}
    return value
