"""A cluster of two nodes: workers on both, results as in one process, and one node's death.

Both nodes are on this machine, with an object store and a raylet each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.runtime.nodes import start_ray
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.faults.killing import decoders, kill
from tests.integration.serving import CONFIG, Served, check_unbroken, faster, running_runtime

_STORE_BYTES = 100_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    node = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    started = Cluster(initialize_head=True, head_node_args=node)
    try:
        started.add_node(**node)
        yield started
    finally:
        started.shutdown()


@pytest.fixture(scope="module")
def served_by(cluster: Cluster) -> Iterator[tuple[Runtime, SessionStore]]:
    config = faster(CONFIG, ray_address=cluster.address, num_detect_workers=2, num_track_workers=2)
    with running_runtime(config) as both:
        yield both


def raylet_of(pid: int) -> int:
    """Process id of the node that a worker belongs to."""
    parent = psutil.Process(pid).parent()
    assert parent is not None
    assert parent.name() == "raylet"
    return parent.pid


def test_without_an_address_ray_is_ones_own(cluster: Cluster) -> None:
    """Though there is a cluster on this machine that Ray would find by itself."""
    assert start_ray(CONFIG)
    try:
        assert ray.get_runtime_context().gcs_address != cluster.address
        assert len(ray.nodes()) == 1
    finally:
        ray.shutdown()


def test_sessions_outlive_a_node(
    cluster: Cluster, runtime: Runtime, store: SessionStore, clip: Path, model: VideoModel
) -> None:
    pids = runtime.worker_pids()
    nodes = {kind: {raylet_of(pid) for pid in pids[kind]} for kind in ("detect", "track")}
    assert len(nodes["detect"]) == len(nodes["track"]) == 2

    sessions = [Served.start(store, clip, f"s{number}", autostart=True) for number in range(2)]
    # All at once: without prompts, a session runs through its clip in no time.
    for served in sessions:
        served.ask(AddConcept(text="red circle"))
    for served in sessions:
        served.reach(4)
    assert sorted(map(raylet_of, decoders())) == sorted(nodes["track"])

    [second] = cluster.worker_nodes
    [raylet] = nodes["track"] & {one.process.pid for one in second.all_processes["raylet"]}
    victims = [raylet, *(child.pid for child in psutil.Process(raylet).children(recursive=True))]
    for pid in victims:
        # Workers may have ended by themselves once their node is gone.
        with contextlib.suppress(ProcessLookupError):
            kill(pid)
    for served in sessions:
        check_unbroken(served, model, clip)
    assert {raylet_of(pid) for pid in runtime.worker_pids()["track"]} == nodes["track"] - {raylet}
