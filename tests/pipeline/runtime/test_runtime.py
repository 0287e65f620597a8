"""What a runtime checks before anything is started."""

from __future__ import annotations

import pytest

from core.errors import ConfigError
from pipeline.runtime import Runtime
from pipeline.runtime.runtime import _told
from pipeline.store import MemoryStore


def test_a_store_that_nobody_else_can_reach() -> None:
    with pytest.raises(ConfigError, match="cannot reach a store in memory"):
        Runtime(MemoryStore())


def test_errors_of_the_code_are_told_as_such() -> None:
    class FailedError(Exception):
        cause: Exception

    mine, foreign = FailedError(), FailedError()
    mine.cause, foreign.cause = ConfigError("no such option"), ZeroDivisionError("division")
    assert _told(mine) == "ConfigError: no such option"  # type: ignore[arg-type]
    told = _told(foreign)  # type: ignore[arg-type]
    assert told == "an error of the program: ZeroDivisionError: division"
