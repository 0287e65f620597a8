"""Whether an actor still answers: told from one that starts, has died, or was asleep with us."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import ray
from ray import ActorID

from maskstream.pipeline.runtime import Runtime
from maskstream.workers.faults import DEATHS
from maskstream.workers.heartbeat import Health, Heartbeat, actor_of, ask_pid, num_restarts_of
from tests.faults.killing import kill
from tests.integration.serving import LONG_S, eventually

LIMIT_S = 5.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Actor:
    def pid(self) -> int:
        return os.getpid()

    def work(self, seconds: float) -> None:
        time.sleep(seconds)


class Broken:
    def pid(self) -> int:
        raise ZeroDivisionError("of the answer")


@pytest.fixture
def actor(runtime: Runtime) -> Iterator[Any]:
    """An actor on the runtime's Ray that is started again."""
    handle = actor_of(Actor).options(num_cpus=0, max_restarts=-1).remote()
    yield handle
    ray.kill(handle)


def next_beat(heartbeat: Heartbeat, clock: Clock) -> Health:
    """The next thing that is learned; time passes fast enough to ask, and too slow for limits."""
    found: list[Health] = []

    def look() -> bool:
        if heartbeat._answer is None:
            clock.now_s += 1.0
        found[:] = [heartbeat.check()]
        return found[0] is not Health.UNKNOWN

    eventually(look)
    return found[0]


def living_pid(actor: Any) -> int:
    """Asked until there is an answer."""
    found: list[int] = []

    def ask() -> bool:
        with contextlib.suppress(DEATHS):
            found[:] = [ray.get(ask_pid(actor))]
        return bool(found)

    eventually(ask)
    return found[0]


def die_and_return(actor: Any) -> None:
    before = living_pid(actor)
    kill(before)
    eventually(lambda: living_pid(actor) != before)


def test_alive_dead_and_started_again(actor: Any) -> None:
    clock = Clock()
    heartbeat = Heartbeat(actor, "actor", LIMIT_S, may_restart=True, clock=clock)
    assert next_beat(heartbeat, clock) is Health.ALIVE
    first = heartbeat.pid
    assert first == ray.get(actor.pid.remote())
    kill(first)
    beats = {next_beat(heartbeat, clock)}
    while Health.RESTARTED not in beats:
        beats.add(next_beat(heartbeat, clock))
    assert beats <= {Health.ALIVE, Health.DEAD, Health.RESTARTED}
    assert heartbeat.pid not in (None, first)
    assert next_beat(heartbeat, clock) is Health.ALIVE


def test_deaths_between_two_looks_are_all_counted(actor: Any) -> None:
    clock = Clock()
    heartbeat = Heartbeat(actor, "actor", LIMIT_S, may_restart=True, clock=clock)
    assert next_beat(heartbeat, clock) is Health.ALIVE
    for number in (1, 2):
        die_and_return(actor)
        assert num_restarts_of(actor) == number
    while next_beat(heartbeat, clock) is not Health.RESTARTED:
        pass
    assert heartbeat.num_restarts == 2
    assert next_beat(heartbeat, clock) is Health.ALIVE


def test_work_that_waits_keeps_no_answer_waiting(actor: Any) -> None:
    clock = Clock()
    heartbeat = Heartbeat(actor, "actor", LIMIT_S, may_restart=True, clock=clock)
    assert next_beat(heartbeat, clock) is Health.ALIVE
    first = heartbeat.pid
    long = actor.work.remote(3600.0)
    assert [next_beat(heartbeat, clock) for _ in range(3)] == [Health.ALIVE] * 3
    assert heartbeat.pid == first
    assert not ray.wait([long], timeout=0)[0]


def stopped_and_asked(heartbeat: Heartbeat, clock: Clock) -> int:
    """Stop the actor, once it has answered, and leave a question open; its process id."""
    assert next_beat(heartbeat, clock) is Health.ALIVE
    assert heartbeat.pid is not None
    os.kill(heartbeat.pid, signal.SIGSTOP)
    clock.now_s += 1.0
    assert heartbeat.check() is Health.UNKNOWN
    assert heartbeat._answer is not None
    return heartbeat.pid


def test_what_does_not_answer_is_ended_at_the_limit(actor: Any) -> None:
    clock = Clock()
    heartbeat = Heartbeat(actor, "actor", LIMIT_S, may_restart=True, clock=clock)
    stopped = stopped_and_asked(heartbeat, clock)
    for _ in range(int(LIMIT_S)):
        clock.now_s += 1.0
        assert heartbeat.check() is Health.UNKNOWN
    assert psutil.Process(stopped).status() == psutil.STATUS_STOPPED
    clock.now_s += 1.0
    heartbeat.check()
    eventually(lambda: not psutil.pid_exists(stopped))
    while heartbeat.pid == stopped:
        next_beat(heartbeat, clock)


def test_who_was_asleep_takes_nobody_for_hung(actor: Any) -> None:
    clock = Clock()
    heartbeat = Heartbeat(actor, "actor", LIMIT_S, may_restart=True, clock=clock)
    stopped = stopped_and_asked(heartbeat, clock)
    clock.now_s += 3600.0
    assert heartbeat.check() is Health.UNKNOWN
    os.kill(stopped, signal.SIGCONT)
    assert next_beat(heartbeat, clock) is Health.ALIVE
    assert heartbeat.pid == stopped


def test_one_that_starts_has_all_the_time_it_needs(actor: Any) -> None:
    clock = Clock()
    first = ray.get(actor.pid.remote())
    os.kill(first, signal.SIGSTOP)
    heartbeat = Heartbeat(actor, "actor", LIMIT_S, may_restart=True, clock=clock)
    for _ in range(100):
        clock.now_s += 1.0
        assert heartbeat.check() is Health.UNKNOWN
    os.kill(first, signal.SIGCONT)
    assert next_beat(heartbeat, clock) is Health.ALIVE
    assert heartbeat.pid == first


def test_one_that_has_worked_does_not_start_any_more(actor: Any) -> None:
    """Though it was never looked at before it hung."""
    clock = Clock()
    heartbeat = Heartbeat(actor, "actor", LIMIT_S, may_restart=True, clock=clock)
    stopped = ray.get(actor.pid.remote())
    heartbeat.note_worked()
    os.kill(stopped, signal.SIGSTOP)
    for _ in range(int(LIMIT_S) + 3):
        clock.now_s += 1.0
        assert heartbeat.check() is Health.UNKNOWN
    eventually(lambda: not psutil.pid_exists(stopped))


def test_an_error_of_ray_that_is_no_death_is_no_news(runtime: Runtime) -> None:
    handle = actor_of(Broken).options(num_cpus=0).remote()
    clock = Clock()
    heartbeat = Heartbeat(handle, "actor", LIMIT_S, clock=clock)
    assert heartbeat.check() is Health.UNKNOWN
    assert ray.wait([heartbeat._answer], timeout=LONG_S)[0]
    assert heartbeat.check() is Health.UNKNOWN
    assert heartbeat._answer is None  # it is asked again
    ray.kill(handle)


def test_an_actor_that_rays_table_has_forgotten(runtime: Runtime) -> None:
    class Forgotten:
        _actor_id = ActorID.from_random()

    assert num_restarts_of(Forgotten) is None
