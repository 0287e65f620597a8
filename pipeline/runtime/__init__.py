"""The runtime: serves sessions with Ray actors and replaces actors that die.

Names are imported when they are first used, because decode workers need neither torch nor a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskstream.pipeline.live import HostFilter
    from maskstream.pipeline.runtime.config import Placement, RuntimeConfig, place
    from maskstream.pipeline.runtime.runtime import Runtime
    from maskstream.pipeline.session.open_feed import SourcePolicy
    from maskstream.pipeline.session.opening import RunnerConfig
    from maskstream.workers.local_detect import BatchLimits
    from maskstream.workers.models import ModelSpec

__all__ = [
    "BatchLimits",
    "HostFilter",
    "ModelSpec",
    "Placement",
    "RunnerConfig",
    "Runtime",
    "RuntimeConfig",
    "SourcePolicy",
    "place",
]

_HOMES = {
    "BatchLimits": "maskstream.workers.local_detect",
    "HostFilter": "maskstream.pipeline.live",
    "ModelSpec": "maskstream.workers.models",
    "Placement": "maskstream.pipeline.runtime.config",
    "RunnerConfig": "maskstream.pipeline.session.opening",
    "Runtime": "maskstream.pipeline.runtime.runtime",
    "RuntimeConfig": "maskstream.pipeline.runtime.config",
    "SourcePolicy": "maskstream.pipeline.session.open_feed",
    "place": "maskstream.pipeline.runtime.config",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
