"""On which of a cluster's nodes Ray starts an actor.

Actors share a node's cores as its system sees fit, so none of them reserves any. But one that asks
Ray for nothing at all is put on a node taken by chance, whatever its strategy says. So each asks
for a share of a core too small to run out.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_SHARE_OF_A_CORE = 0.001


def spread(num_gpus: float = 0.0) -> dict[str, Any]:
    """Options of an actor that goes to another node than the one before, where it can.

    Args:
        num_gpus: that it is given, a share of one or several.
    """
    return {
        "num_cpus": _SHARE_OF_A_CORE,
        "num_gpus": num_gpus,
        "scheduling_strategy": "SPREAD",
    }


def beside_caller() -> dict[str, Any]:
    """Options of an actor on this process's node, where the two share memory."""
    node = ray.get_runtime_context().get_node_id()
    # Ray's types leave out what this does.
    strategy: Any = NodeAffinitySchedulingStrategy(node, soft=True)
    return {"num_cpus": _SHARE_OF_A_CORE, "scheduling_strategy": strategy}
