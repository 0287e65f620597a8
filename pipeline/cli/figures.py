"""Figures as the commands print them."""

from __future__ import annotations

from typing import Any


def duration(seconds: float) -> str:
    """A time such as 3 s, 5 min or 2.5 h."""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def number(value: Any) -> str:
    """A number with one decimal; an empty text when there is no number."""
    return f"{value:.1f}" if isinstance(value, int | float) else ""


def num_objects(count: int) -> str:
    """A count such as 1 object or 2 objects."""
    return "1 object" if count == 1 else f"{count} objects"
