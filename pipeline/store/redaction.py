"""Credentials out of texts: what is left may be stored, logged and shown."""

from __future__ import annotations

import re
from typing import Any

from core.errors import InputError

HIDDEN = "***"
MAX_DEPTH = 50

_NAMES = "pass|pwd|token|secret|auth|key|sign|sig|credential|user|login|account|session"
_SECRET_KEY = re.compile(r"(?i)pass(word|wd|phrase)?$|pwd$|token$|secret$|credentials?$|api_?key$")


def _patterns(end: str) -> tuple[re.Pattern[str], ...]:
    """What to hide in a URL, in this order; of a match the group ``name`` stays.

    Args:
        end: the characters, as in a regular expression's class, that a URL cannot hold.
    """
    anything = f"[^{end}]" if end else r"[\s\S]"
    return (
        # user:password@ with a raw / ? or # in the password, which no URL may have: what follows
        # the colon is then no port.
        re.compile(rf"(?P<name>://)[^/?#:{end}]*:(?!\d{{1,5}}(?:[/?#{end}]|$)){anything}*(?=@)"),
        re.compile(rf"(?P<name>://)[^/?#{end}]*(?=@)"),
        re.compile(rf"(?i)(?P<name>[?&;][^=&;{end}]*(?:{_NAMES})[^=&;{end}]*=)[^&;#{end}]+"),
    )


_IN_TEXT = _patterns(r"\s\"'<>")
_ALONE = _patterns("")


def redact(text: str) -> str:
    """The text with the user, password and secret parameters of all its URLs replaced.

    Run-length codes stay as they are: they hold no slash, so they hold no URL.
    """
    return _hide(text, _IN_TEXT)


def redact_url(url: str) -> str:
    """The same for a text that is one URL and nothing else, however malformed."""
    return _hide(url, _ALONE)


def redact_json(value: Any, depth: int = 0) -> Any:
    """A JSON value with all its texts redacted, and the values of keys such as ``password``.

    Raises:
        InputError: it is nested deeper than 50 lists or objects, beyond what any reader takes.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"a value is nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [redact_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            redact(str(key)): HIDDEN
            if isinstance(item, str) and _SECRET_KEY.search(str(key))
            else redact_json(item, depth + 1)
            for key, item in value.items()
        }
    return value


def _hide(text: str, patterns: tuple[re.Pattern[str], ...]) -> str:
    if "://" in text:
        for pattern in patterns:
            text = pattern.sub(rf"\g<name>{HIDDEN}", text)
    return text
