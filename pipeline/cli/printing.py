"""Text for terminals, pipes and files of any encoding."""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Any

from maskstream.pipeline.sinks.base import to_json

_PLAIN = {"…": "...", "→": "->", "–": "-", "—": "-", "−": "-", "×": "x", "≥": ">=", "≤": "<="}
_HANDLER = "maskstream-plain"


def make_printable() -> None:
    """Let every text be printed, whatever the encoding of standard output and standard error.

    A sign that an encoding lacks is spelled in ASCII, as ``->`` or ``\\u8db3``, instead of ending
    the command with an error. So are the bytes of file names that are no UTF-8.
    """
    codecs.register_error(_HANDLER, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def json_line(value: Any) -> str:
    """A value as JSON on one line, in ASCII where standard output cannot hold all of Unicode."""
    if (sys.stdout.encoding or "").lower().startswith("utf"):
        return to_json(value)
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    ascii_letters = [
        _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in text
    ]
    return "".join(ascii_letters), error.end
