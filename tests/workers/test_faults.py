"""Which errors are deaths; and Ray's memory monitor kills actors for real: whoever watches or calls
them sees a death.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator

import pytest
import ray
from ray import exceptions
from ray.exceptions import OutOfMemoryError, RayError

from maskstream.workers import faults
from maskstream.workers.faults import DEATHS
from maskstream.workers.heartbeat import Health, Heartbeat, actor_of
from tests.integration.serving import eventually

pytestmark = pytest.mark.cluster


class Actor:
    def pid(self) -> int:
        return os.getpid()

    def work(self) -> None:
        threading.Event().wait()


def test_the_list_says_of_each_error_of_ray_whether_it_is_a_death() -> None:
    """A new release of Ray may have new ones."""
    kinds = {
        name
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type) and issubclass(kind, RayError) and kind is not RayError
    }
    assert kinds - set(re.findall(r"``(\w+)``", faults.__doc__ or "")) == set()


def test_a_class_becomes_an_actor_once() -> None:
    """Each session starts a decode worker, and Ray never forgets what it has made of a class."""
    assert actor_of(Actor) is actor_of(Actor)


@pytest.fixture(scope="module")
def full_node() -> Iterator[None]:
    """A Ray of its own, whose memory monitor takes any use of memory for too much."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_usage_threshold", "0.0001")
        patch.setenv("RAY_memory_monitor_refresh_ms", "50")
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=1,
            object_store_memory=80 * 2**20,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@pytest.mark.usefixtures("full_node")
def test_a_heartbeat_sees_that_the_memory_monitor_killed_an_actor() -> None:
    heartbeat = Heartbeat(actor_of(Actor).options(num_cpus=0).remote(), "actor", 60.0)
    eventually(lambda: heartbeat.check() is Health.DEAD)
    assert isinstance(heartbeat.error, OutOfMemoryError)


@pytest.mark.usefixtures("full_node")
def test_a_call_sees_that_the_memory_monitor_killed_its_actor() -> None:
    actor = actor_of(Actor).options(num_cpus=0).remote()
    with pytest.raises(DEATHS) as caught:
        ray.get(actor.work.remote())
    assert isinstance(caught.value, OutOfMemoryError)
