"""The fixtures of the integration tests."""

from __future__ import annotations

from tests.integration.conftest import (
    clip,
    name,
    one_thread,
    runtime,
    served_by,
    shared_runtime,
    store,
)

__all__ = [
    "clip",
    "name",
    "one_thread",
    "runtime",
    "served_by",
    "shared_runtime",
    "store",
]
