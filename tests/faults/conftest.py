"""The fixtures of the integration tests."""

from __future__ import annotations

from tests.integration.conftest import (
    clip,
    name,
    runtime,
    served_by,
    shared_runtime,
    store,
)

__all__ = [
    "clip",
    "name",
    "runtime",
    "served_by",
    "shared_runtime",
    "store",
]
