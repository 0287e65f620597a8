"""Records to JSON and back; what comes back is checked as if a stranger had written it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from maskstream.core.errors import InputError, StoreError
from maskstream.core.redaction import redact

R = TypeVar("R", bound=BaseModel)


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
        StoreError: it is none.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where.unreadable(f"it is not JSON ({type(error).__name__})")
    if not isinstance(value, dict):
        where.unreadable(f"it is a JSON {type(value).__name__} where an object belongs")
    return value


def build(model: type[R], values: Mapping[str, Any], where: Place) -> R:
    """A record from what was stored in ``where``.

    Raises:
        StoreError: fields are missing, unknown or of other types.
    """
    try:
        return model(**values)
    except ValidationError as error:
        items = error.errors(include_url=False, include_input=False, include_context=False)
        faults = [f"{'.'.join(map(str, item['loc']))}: {item['msg'].lower()}" for item in items[:5]]
        where.unreadable("; ".join(faults))
    except TypeError:
        where.unreadable("its fields have no names")


def as_stored(record: R, what: str) -> R:
    """A record as it comes back from being stored; shares nothing with the one given.

    Raises:
        InputError: it holds something that JSON cannot say.
    """
    place = Place(what, "")
    return build(type(record), from_json(to_json(record, what), place), place)


class Place:
    """Where something is stored.

    Args:
        key: the Redis key.
        entry: an id in a stream, or a field of a hash.
        resume_after: for a log, the sequence behind which reading can go on.
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
