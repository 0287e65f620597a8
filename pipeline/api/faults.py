"""Sentences that say what is wrong with a request, for its sender."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from maskstream.core.errors import RequestError
from maskstream.core.redaction import redact

MAX_FAULTS = 30
"""Of a request with more faults, the last sentence says how many more there are."""

_MAX_SHOWN = 60
_MAX_TO_REDACT = 5000


def sentence(error: ErrorDetails, known: Collection[str]) -> str:
    """One fault that pydantic has found in a request.

    Args:
        known: the names of the request's fields, to suggest one for an unknown key.
    """
    where = _place(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {shown(where)}{suggestion(where, known)}"
    if error["type"] == "missing" and len(error["loc"]) == 1:
        return f"{where} is missing"
    if error["type"] == "too_long":
        limits = error.get("ctx", {})
        count, most = limits.get("actual_length") or "too many", limits.get("max_length")
        return f"{where} has {count} entries; at most {most} are allowed"
    if error["type"] == "string_too_long":
        most = error.get("ctx", {}).get("max_length")
        return f"{where} has {len(error['input'])} characters; at most {most} are allowed"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}, not {shown(error['input'])}"


def stored_faults(error: ValidationError, most: int | None = None) -> list[str]:
    """The faults that pydantic has found in values from a store; the values are not shown.

    Args:
        most: how many are told; None: all.
    """
    faults: list[str] = []
    for item in error.errors(include_url=False, include_input=False):
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, RequestError):
            faults += cause.faults
        else:
            faults.append(f"{'.'.join(map(str, item['loc']))}: {item['msg'].lower()}")
    return faults[:most]


def shown(value: Any) -> str:
    """A value as a message shows it: short, and without credentials."""
    if isinstance(value, np.ndarray):
        return "an array"
    if isinstance(value, str | bytes) and len(value) > _MAX_TO_REDACT:
        return f"a text of {len(value)} characters"
    if isinstance(value, list | tuple | dict | set) and len(value) > _MAX_SHOWN:
        return f"a {type(value).__name__} of {len(value)} entries"
    try:
        text = redact(repr(value)[:_MAX_TO_REDACT])
    except (RecursionError, ValueError):  # such as an integer with a million digits
        return f"a {type(value).__name__}"
    return text[:_MAX_SHOWN]


def suggestion(word: str, known: Collection[str]) -> str:
    """A hint at the known word that was probably meant; empty when none is similar."""
    close = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def bounded(faults: Iterable[str]) -> list[str]:
    """Each fault once, and at most ``MAX_FAULTS`` of them."""
    all_of_them = list(dict.fromkeys(faults))
    surplus = len(all_of_them) - MAX_FAULTS
    if surplus <= 0:
        return all_of_them
    return [*all_of_them[:MAX_FAULTS], f"and {surplus} more faults"]


def _place(loc: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc]
    return "".join(parts).removeprefix(".")
