"""The values of a statement, apart from its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Parameters:
    """Collects values and gives each a name, which stands for it in the text of a statement."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """The name that stands for a value, such as ``$p3``."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"${name}"

    def add_all(self, values: Iterable[Any]) -> str:
        """The names of several values, with commas between."""
        return ", ".join(self.add(value) for value in values)
