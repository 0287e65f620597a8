"""The version of maskstream, as indexes name it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def code_version() -> str:
    """The version of maskstream."""
    try:
        return version("maskstream")
    except PackageNotFoundError:  # this is a source tree that was never installed
        return "(not installed)"
