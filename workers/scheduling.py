"""On which node of a cluster Ray starts an actor.

The operating system divides the cores among the actors of a node, so actors reserve none. But Ray
ignores the scheduling strategy of an actor that requests no resource and puts it on a random node.
So each actor requests a share of a core that is too small to run out.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_SHARE_OF_A_CORE = 0.001


def spread(num_gpus: float = 0.0) -> dict[str, Any]:
    """Options of an actor that Ray starts on another node than the one before, if there is one.

    Args:
        num_gpus: GPUs that the actor gets; may be a fraction of one.
    """
    return {
        "num_cpus": _SHARE_OF_A_CORE,
        "num_gpus": num_gpus,
        "scheduling_strategy": "SPREAD",
    }


def beside_caller() -> dict[str, Any]:
    """Options of an actor on this process's node, so that the two share memory."""
    node = ray.get_runtime_context().get_node_id()
    # Ray's types do not list this strategy.
    strategy: Any = NodeAffinitySchedulingStrategy(node, soft=True)
    return {"num_cpus": _SHARE_OF_A_CORE, "scheduling_strategy": strategy}
