"""What a runtime checks before anything is started."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayActorError

from maskstream.core.errors import CheckpointError, ConfigError, StoreError
from maskstream.pipeline.runtime import ModelSpec, Runtime, RuntimeConfig
from maskstream.pipeline.runtime.supervisor import failure_reason, is_out_of_reach
from maskstream.pipeline.store import MemoryStore, open_store


def test_a_store_that_nobody_else_can_reach() -> None:
    with pytest.raises(ConfigError, match="cannot reach a store in memory"):
        Runtime(MemoryStore())


def test_a_checkpoint_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    store = open_store()
    config = RuntimeConfig(model=ModelSpec(checkpoint=str(tmp_path / "none")))
    with pytest.raises(CheckpointError, match="none"):
        Runtime(store, config).start()
    assert not ray.is_initialized()
    store.close()


def test_errors_of_the_code_are_told_as_such() -> None:
    class FailedError(Exception):
        cause: Exception

    mine, foreign, dead = FailedError(), FailedError(), FailedError()
    mine.cause, foreign.cause = ConfigError("no such option"), ZeroDivisionError("division")
    dead.cause = RayActorError()
    assert failure_reason(mine) == "ConfigError: no such option"  # type: ignore[arg-type]
    told = failure_reason(foreign)  # type: ignore[arg-type]
    assert told == "an error of the program: ZeroDivisionError: division"
    assert failure_reason(dead).startswith("a detect worker has died again and again")  # type: ignore[arg-type]


def test_only_a_store_out_of_reach_is_tried_again() -> None:
    """What it holds and nobody can read is the same the next time."""
    unreadable = StoreError("entry blob of k cannot be read", key="k", entry="blob")
    again = pickle.loads(pickle.dumps(unreadable))  # as it comes from a worker
    assert (again.key, again.entry) == ("k", "blob")
    assert not is_out_of_reach(again)
    assert is_out_of_reach(StoreError("no Redis server can be reached"))
    assert not is_out_of_reach(ZeroDivisionError("division"))
