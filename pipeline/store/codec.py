"""Records to JSON and back. What is read is checked: something else may have written it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from maskstream.core.errors import InputError, StoreError
from maskstream.core.redaction import redact
from maskstream.pipeline.api.faults import stored_faults

R = TypeVar("R", bound=BaseModel)

_KEY_TYPES = {str}
_MOST_FAULTS = 5
# At most, in ASCII: a character outside the basic plane, as two escapes; and an item of a list or
# mapping, which is a number or has brackets or quotes, with the comma after it and the quotes and
# colon of its key.
_CHARACTER_BYTES = len("\\ud83d\\udc4d")
_ITEM_BYTES = len('"":-2.2250738585072014e-308,')


def to_json(value: BaseModel | Mapping[str, Any], what: str) -> bytes:
    """A record or mapping as JSON in ASCII.

    Args:
        what: names it in the error.

    Raises:
        InputError: it holds something that JSON cannot say, NaN included.
    """
    plain = value.model_dump() if isinstance(value, BaseModel) else value
    try:
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} holds a value that is not JSON: {error}") from error


def from_json(text: bytes, where: Place) -> dict[str, Any]:
    """The JSON object that was stored in ``where``.

    Raises:
        StoreError: the text is not a JSON object.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where.unreadable(f"it is not JSON ({type(error).__name__})")
    if not isinstance(value, dict):
        where.unreadable(f"it is a JSON {type(value).__name__} where an object belongs")
    return value


def build(model: type[R], values: Mapping[str, Any], where: Place) -> R:
    """A record from the values that were stored in ``where``.

    Raises:
        StoreError: fields are missing, unknown or of other types.
    """
    try:
        return model(**values)
    except ValidationError as error:
        where.unreadable("; ".join(stored_faults(error, _MOST_FAULTS)))
    except TypeError:
        where.unreadable("its fields have no names")


def json_copy(value: Mapping[str, Any], what: str) -> tuple[dict[str, Any], int]:
    """A mapping as it comes back from JSON; and the bytes that it takes as JSON, or more.

    The copy shares nothing with ``value`` that can change. Where it holds only what JSON gives back
    as it is, as results do, nothing is written as JSON and read again: that would take three times
    as long.

    Args:
        what: names it in the error.

    Raises:
        InputError: it holds something that JSON cannot say, NaN included.
    """
    sizes = [_ITEM_BYTES]
    try:
        copy: dict[str, Any] = _plain_copy(value, sizes)
    except (_NotPlainError, RecursionError):
        text = to_json(value, what)
        return json.loads(text), len(text)
    return copy, sum(sizes)


class _NotPlainError(Exception):
    """A value that JSON gives back as another one, or cannot say."""


def _plain_copy(value: Any, sizes: list[int]) -> Any:
    """Copy what JSON gives back as it is; add to ``sizes`` what it takes there at most."""
    kind = type(value)
    if kind is str:
        sizes.append(_CHARACTER_BYTES * len(value))
        return value
    if kind is list:
        sizes.append(_ITEM_BYTES * len(value))
        return [_plain_copy(item, sizes) for item in value]
    if kind is dict and {*map(type, value)} <= _KEY_TYPES:
        sizes.append(_ITEM_BYTES * len(value) + _CHARACTER_BYTES * sum(map(len, value)))
        return {key: _plain_copy(item, sizes) for key, item in value.items()}
    if (
        value is None
        or kind is bool
        or (kind is float and isfinite(value))
        or (kind is int and -(2**63) <= value < 2**63)
    ):
        return value
    raise _NotPlainError


def as_stored(record: R, what: str) -> R:
    """A record as a store gives it back; it shares nothing with the one given.

    Raises:
        InputError: it holds something that JSON cannot say.
    """
    content, _ = json_copy(record.model_dump(), what)
    return build(type(record), content, Place(what, ""))


class Place:
    """Where something is stored, to name it in an error.

    Args:
        key: the Redis key.
        entry: an id in a stream, or a field of a hash.
        resume_after: in a log, the sequence behind which reading can go on.
    """

    def __init__(self, key: str, entry: str, resume_after: int | None = None) -> None:
        self.key = key
        self.entry = entry
        self.resume_after = resume_after

    def unreadable(self, why: str) -> NoReturn:
        """Raise StoreError."""
        raise StoreError(
            f"entry {self.entry} of {self.key} is not what maskstream writes: {redact(why)}; "
            "something else has written to it",
            key=self.key,
            entry=self.entry,
            resume_after=self.resume_after,
        )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
