"""Something costly that the tests of a process share, one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


class Shared:
    """One thing that is opened for the first test that needs it and kept for the next one.

    It is closed before the first test that doesn't need it: that one may want a Ray for itself, or
    the processor. See ``pytest_runtest_setup`` in ``tests/conftest.py``.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._thing: Any = None

    def get(self, start: Callable[[], AbstractContextManager[Any]]) -> Any:
        """The thing; opened with ``start`` if it is not open."""
        if self._thing is None:
            self._thing = self._stack.enter_context(start())
        return self._thing

    def close(self) -> None:
        """Close it; nothing happens if it is not open."""
        self._thing = None
        self._stack.close()


RUNTIME = Shared()
"""A runtime on Ray and its store."""
