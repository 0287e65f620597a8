"""Starts Ray on this machine or connects to a cluster, and checks the cluster's nodes."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import ray
import ray._private.worker

from maskstream.core.errors import ConfigError, RuntimeFailedError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.runtime.config import RuntimeConfig
from maskstream.pipeline.store.address import is_on_this_machine

_CONNECT_S = 5.0
_LOOK_S = 1.0

RAYLET = "the raylet of this machine"
GCS = "the GCS of Ray's cluster"


def start_ray(config: RuntimeConfig) -> bool:
    """Start Ray, or connect to the cluster that the configuration names.

    Returns:
        Whether this call did it; False if this process was connected to Ray before.

    Raises:
        ConfigError: there is no cluster at that address.
    """
    if ray.is_initialized():
        return False
    # Leave CUDA_VISIBLE_DEVICES alone for actors without a GPU, as later versions of Ray will.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Each session has a thread; glibc gives each thread a heap of its own and does not shrink it.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    # Ray lowers the priority of its workers; here they do the machine's main work.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Switches off Ray's record of every call: 3.5 KB each, up to 350 MB, and read by nobody here.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.ray_address is not None:
        _check_address(config.ray_address)
        options["address"] = config.ray_address
    else:
        # Without "local", Ray joins a cluster whose address `ray start` or a test left here.
        options |= {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": config.num_cpus,
            "object_store_memory": config.object_store_bytes,
        }
    try:
        ray.init(**options)
    except ConnectionError as error:
        address = config.ray_address or "auto"
        reason = "Ray knows of none" if address == "auto" else str(error)
        raise ConfigError(_no_cluster(address, reason)) from error
    return True


def _check_address(address: str) -> None:
    """Check that the address accepts connections. Ray itself would try for two minutes."""
    if address == "auto":
        return
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise ConfigError(f'the Ray address is {address!r}; expected host:port, or "auto"')
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        raise ConfigError(_no_cluster(address, str(error))) from error


def _no_cluster(address: str, reason: str) -> str:
    return (
        f"no Ray cluster is found at {address!r} ({reason}); start one with `ray start --head`, "
        "or leave the address out to start one on this machine"
    )


@dataclass(frozen=True, slots=True)
class RayProcesses:
    """The processes of Ray that this process cannot do without, and where they listen.

    Attributes:
        raylet: path of the socket of this machine's raylet, which starts workers.
        gcs: host and port of the cluster's GCS, which knows all actors.
    """

    raylet: str
    gcs: tuple[str, int]

    @classmethod
    def of_this_process(cls) -> Self:
        """Those that this process is connected to."""
        node: Any = ray._private.worker._global_node
        host, _, port = node.gcs_address.rpartition(":")
        return cls(node.raylet_socket_name, (host.strip("[]"), int(port)))

    def find_missing(self) -> str | None:
        """Connect to each; returns what the first that does not accept is; None: all do."""
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(_LOOK_S)
                line.connect(self.raylet)
        except OSError:
            return RAYLET
        try:
            socket.create_connection(self.gcs, _LOOK_S).close()
        except OSError:
            return GCS
        return None


def check_own_node() -> None:
    """Ask the GCS whether it still counts on this process's node. Waits for its answer.

    Raises:
        RuntimeFailedError: it takes the node for dead, for example because its raylet hangs.
    """
    own = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    if not any(node["NodeID"] == own and node["Alive"] for node in nodes):
        raise RuntimeFailedError("Ray takes the node of this machine for dead")


def num_gpus() -> float:
    """The number of GPUs of all nodes together."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get("GPU", 0.0)


def addresses() -> set[str]:
    """The IP addresses of the machines that Ray's living nodes run on."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeManagerAddress"] for node in nodes if node["Alive"]}


def check_reachable(store_url: str, machines: Collection[str]) -> None:
    """Check that the workers of all machines can reach the session store.

    Args:
        store_url: address of the session store.
        machines: addresses of the machines, from :func:`addresses`.

    Raises:
        ConfigError: there are several machines, and the URL names a store on each machine itself (a
            Unix socket or localhost).
    """
    if len(machines) > 1 and is_on_this_machine(store_url):
        raise ConfigError(
            f"the session store is at {redact_url(store_url)}, which workers on other machines "
            f"cannot reach, and the cluster has {len(machines)} machines; give --redis an address "
            "that all of them can reach"
        )
