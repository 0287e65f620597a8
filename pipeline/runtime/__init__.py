"""Sessions served by Ray actors: who runs what, and what happens when one of them dies."""

from __future__ import annotations

from pipeline.runtime.config import Placement, RuntimeConfig, place
from pipeline.runtime.feeds import SourcePolicy
from pipeline.runtime.opening import RunnerConfig
from pipeline.runtime.runtime import Runtime
from workers.detect import BatchLimits
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
