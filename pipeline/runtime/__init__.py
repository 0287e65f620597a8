"""Sessions served by Ray actors: who runs what, and what happens when one of them dies.

Names are imported when they are first used: decode workers need neither torch nor a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.runtime.config import Placement, RuntimeConfig, place
    from pipeline.runtime.feeds import SourcePolicy
    from pipeline.runtime.opening import RunnerConfig
    from pipeline.runtime.runtime import Runtime
    from workers.local_detect import BatchLimits
    from workers.models import ModelSpec

__all__ = [
    "BatchLimits",
    "ModelSpec",
    "Placement",
    "RunnerConfig",
    "Runtime",
    "RuntimeConfig",
    "SourcePolicy",
    "place",
]

_HOMES = {
    "BatchLimits": "workers.local_detect",
    "ModelSpec": "workers.models",
    "Placement": "pipeline.runtime.config",
    "RunnerConfig": "pipeline.runtime.opening",
    "Runtime": "pipeline.runtime.runtime",
    "RuntimeConfig": "pipeline.runtime.config",
    "SourcePolicy": "pipeline.runtime.feeds",
    "place": "pipeline.runtime.config",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
