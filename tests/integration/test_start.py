"""A runtime whose workers cannot start says why, and leaves nothing behind."""

from __future__ import annotations

import psutil
import pytest
import ray

from maskstream.core.errors import ConfigError
from maskstream.pipeline.runtime import ModelSpec, Runtime
from maskstream.pipeline.store import open_store
from tests.integration.serving import CONFIG, eventually, faster


def test_a_device_that_is_not_there() -> None:
    store = open_store()
    config = faster(CONFIG, model=ModelSpec(device="cuda:99"))
    with pytest.raises(ConfigError, match=r"the workers cannot start: .*(CUDA|cuda)"):
        Runtime(store, config).start()
    assert not ray.is_initialized()
    store.close()
    eventually(
        lambda: (
            not [
                child
                for child in psutil.Process().children(recursive=True)
                if child.status() != psutil.STATUS_ZOMBIE and "ray" in child.name()
            ]
        )
    )
