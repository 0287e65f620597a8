"""Checks whether an actor still answers, by asking for its process id again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

import ray
import ray._private.state
from ray.exceptions import RayError

from maskstream.core.redaction import redact
from maskstream.workers.faults import DEATHS

_LOG = logging.getLogger("maskstream.workers")
_GROUP = "health"
_ASK_EVERY_S = 0.5
# A longer time between two checks does not count in full: the machine may have been asleep.
_MOST_BETWEEN_LOOKS_S = 1.0


class Health(Enum):
    """What a check has found out about an actor."""

    UNKNOWN = "unknown"
    """Nothing new: no answer has come since the last check."""
    ALIVE = "alive"
    RESTARTED = "restarted"
    """It has died, and Ray has restarted it; ``num_restarts`` says how many times so far."""
    DEAD = "dead"
    """It has died. Ray may be restarting it."""


@cache
def actor_of(kind: type) -> Any:
    """Make a class a Ray actor. Its method ``pid`` gets a thread of its own, so it never queues.

    Ray makes a class of it, and keeps that for ever, in this process and in its GCS; so this makes
    one only.
    """
    remote: Any = ray.remote  # Ray's types lack concurrency_groups
    return remote(concurrency_groups={_GROUP: 1})(kind)


def ask_pid(worker: Any) -> Any:
    """Ask an ``actor_of`` for its process id; returns Ray's reference to the answer.

    Other calls of the actor do not delay the answer. If the actor dies first, the reference raises
    that death: Ray does not ask the restarted actor.
    """
    return worker.pid.options(max_task_retries=0, concurrency_group=_GROUP).remote()


def num_restarts_of(worker: Any) -> int | None:
    """How often Ray has restarted an actor; None: Ray's table of actors has it no more.

    Read from Ray's internal actor table. Ray's public ways to ask need its dashboard, and questions
    to the actor itself miss a restart that lasts shorter than the time between two of them.
    """
    found: int | None = ray._private.state.actors(worker._actor_id.hex()).get("NumRestarts")
    return found


class Heartbeat:
    """Watches one actor, made by ``actor_of``.

    Promises: an actor that lives but has not answered for ``limit_s`` is killed, for example a
    stopped process or a deadlock. Its callers then see an ordinary death. An actor that is starting
    has no limit. Call ``check`` at least once a second; otherwise the kill comes later.

    Threads: none of its own. ``check`` never waits.

    Args:
        worker: the actor's handle.
        name: what the actor is, for the log.
        limit_s: how long an answer may take, in seconds.
        may_restart: whether Ray restarts the actor after a kill.
        clock: monotonic time in seconds.

    Attributes:
        pid: process id from the newest answer, or None.
        num_restarts: how often Ray had restarted the actor at that answer.
        error: the error that reported the actor's last death, or None.
    """

    def __init__(
        self,
        worker: Any,
        name: str,
        limit_s: float,
        *,
        may_restart: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worker = worker
        self.pid: int | None = None
        self.num_restarts = 0
        self.error: BaseException | None = None
        self._name = name
        self._limit_s = limit_s
        self._may_restart = may_restart
        self._clock = clock
        self._is_starting = True
        self._answer: Any = None
        self._asked_s = 0.0
        self._looked_s = 0.0
        self._waited_s = 0.0

    def check(self) -> Health:
        """Returns what is new since the last check, and asks the next question when it is due."""
        now_s = self._clock()
        if self._answer is None:
            if self._is_starting or now_s - self._asked_s >= _ASK_EVERY_S:
                self._answer = ask_pid(self.worker)
                self._asked_s = self._looked_s = now_s
                self._waited_s = 0.0
            return Health.UNKNOWN
        if ray.wait([self._answer], timeout=0)[0]:
            answer, self._answer = self._answer, None
            return self._note(answer)
        self._waited_s += min(now_s - self._looked_s, _MOST_BETWEEN_LOOKS_S)
        self._looked_s = now_s
        if not self._is_starting and self._waited_s > self._limit_s:
            _LOG.error("a %s has not answered for %g s; it is killed", self._name, self._limit_s)
            self._is_starting = True
            ray.kill(self.worker, no_restart=not self._may_restart)
        return Health.UNKNOWN

    def note_worked(self) -> None:
        """The actor has answered a call, so it does not start any more.

        A caller for whom answers are always ready never calls ``check``. Without this, an actor
        that hangs later would count as one that starts, and would be given all the time it needs.
        """
        self._is_starting = False

    def _note(self, answer: Any) -> Health:
        try:
            pid: int = ray.get(answer)
        except DEATHS as error:
            self._is_starting, self.error = True, error
            return Health.DEAD
        except RayError as error:
            # Ray could not ask. If it never can again, the actor's place counts as empty.
            _LOG.warning("a %s could not be asked: %s", self._name, redact(str(error)))
            return Health.UNKNOWN
        self._is_starting = False
        if pid == self.pid:
            return Health.ALIVE
        is_first, self.pid = self.pid is None, pid
        known, told = self.num_restarts, num_restarts_of(self.worker)
        self.num_restarts = (known if is_first else known + 1) if told is None else told
        return Health.ALIVE if self.num_restarts == known else Health.RESTARTED
