"""Credentials out of texts: what is left may be stored, logged and shown.

Errs on the safe side. What stands before an ``@`` of a URL and holds a colon is taken for a user
and a password, even where a raw ``/ ? #`` in it would say otherwise to a strict reader.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from maskstream.core.errors import InputError

HIDDEN = "***"
MAX_DEPTH = 50

_SECRET_NAME = re.compile(
    r"(?i)pass|pwd|token|secret|auth|key|sig|credential|user|login|account|session"
)
_SECRET_KEY = re.compile(r"(?i)pass(word|wd|phrase)?$|pwd$|token$|secret$|credentials?$|api_?key$")

# A URL in a text ends at white space, quotes and angle brackets; alone, it ends with the text.
_URL_IN_TEXT = re.compile(r":/+([^\s\"'<>]*)")
_URL_ALONE = re.compile(r":/+([\s\S]*)")
_AUTHORITY_END = re.compile(r"[/?#]")
_PARAMETER = re.compile(r"([?&;#])([^?&;#=]*)=([^&;#]+)")


def redact(text: str) -> str:
    """The text with the user, password and secret parameters of all its URLs replaced.

    Run-length codes stay as they are: they hold no slash, so they hold no URL.
    """
    return _URL_IN_TEXT.sub(_hide, text) if ":/" in text else text


def redact_url(url: str) -> str:
    """The same for a text that is one URL and nothing else, however malformed."""
    return _URL_ALONE.sub(_hide, url, count=1)


def is_secret_name(name: str) -> bool:
    """Whether a parameter of a URL that is called so may hold a secret."""
    return _SECRET_NAME.search(unquote(name)) is not None


def secret_parameters(url: str) -> list[str]:
    """The values of a URL's secret parameters."""
    return [value for _, name, value in _PARAMETER.findall(url) if is_secret_name(name)]


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


def _hide(url: re.Match[str]) -> str:
    rest = url[1]
    start = url[0][: len(url[0]) - len(rest)]
    last = rest.rfind("@")
    if ":" not in rest[: max(last, 0)]:
        # No password: a user or a token at most, and a path may hold an @ of its own.
        end = _AUTHORITY_END.search(rest)
        last = rest.rfind("@", 0, len(rest) if end is None else end.start())
    shown = rest if last < 0 else HIDDEN + rest[last:]
    return start + _PARAMETER.sub(_hide_value, shown)


def _hide_value(parameter: re.Match[str]) -> str:
    start, name, value = parameter.groups()
    return f"{start}{name}={HIDDEN if is_secret_name(name) else value}"
