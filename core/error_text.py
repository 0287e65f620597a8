"""Errors as text, and back: how an error gets from the process where it happens to another.

The text goes into an outcome, the end of a run, the reason of a failed session or the answer of a
worker. It can be read as it stands. What is made from it again has the class and the message of
the original, and beside them:

- of a RequestError all its faults, each for itself: a client shows them as a list;
- of a StoreError ``key`` and ``entry``: with a key it is about an entry that cannot be read, which
  lasts; without one the store is out of reach, and another try may help. ``resume_after`` stays
  behind: it is a place in the log that the first process was reading, and would lead a reader of
  another log astray.

An error of a class that is not in ``core/errors.py`` becomes one of the nearest class that is.
"""

from __future__ import annotations

import json

from maskstream.core import errors
from maskstream.core.errors import MaskstreamError, RequestError, SessionError, StoreError

_KINDS: dict[str, type[MaskstreamError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, MaskstreamError)
}


def error_text(error: MaskstreamError) -> str:
    """The name of the error's class, a colon and the message.

    The faults of a RequestError are lines. Behind the message of a StoreError that is about an
    entry, a line of JSON names the entry.
    """
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _KINDS)
    message = str(error)
    if isinstance(error, RequestError):
        message = "\n".join(error.faults)
    elif isinstance(error, StoreError) and error.key is not None:
        message += "\n" + json.dumps({"key": error.key, "entry": error.entry})
    return f"{name}: {message}"


def error_from_text(text: str) -> MaskstreamError:
    """Undo ``error_text``; a text that does not begin with the name of an error is the message of
    a SessionError. Of a text that was cut short, what is left is the message.
    """
    name, colon, message = text.partition(": ")
    kind = _KINDS.get(name) if colon else None
    if kind is None:
        return SessionError(text)
    if issubclass(kind, RequestError):
        return RequestError(message.split("\n"))
    if issubclass(kind, StoreError):
        return _store_error(message)
    return kind(message)


def _store_error(text: str) -> StoreError:
    message, _, last_line = text.rpartition("\n")
    try:
        place = json.loads(last_line)
        return StoreError(message, key=place["key"], entry=place["entry"])
    except (ValueError, TypeError, KeyError):  # that line belongs to the message
        return StoreError(text)
