"""Whether an actor still answers: it is asked for its process id again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

import ray
import ray._private.state

from maskstream.workers.faults import DEATHS

_LOG = logging.getLogger("maskstream.workers")
_GROUP = "health"
_ASK_EVERY_S = 0.5
# However long ago one looked last: the machine may have slept, and the actor with it.
_MOST_BETWEEN_LOOKS_S = 1.0


class Health(Enum):
    """What was learned about an actor since one looked last."""

    UNKNOWN = "unknown"
    """Nothing: it has not answered yet, and need not have."""
    ALIVE = "alive"
    RESTARTED = "restarted"
    """It has died, and Ray has started it again, once or more often: see ``num_restarts``."""
    DEAD = "dead"
    """It has died. Ray may be starting it again."""


def actor_of(kind: type) -> Any:
    """Ray's actor of a plain class with a method ``pid``, for which it has a thread of its own."""
    remote: Any = ray.remote  # its types know no groups
    return remote(concurrency_groups={_GROUP: 1})(kind)


def ask_pid(worker: Any) -> Any:
    """Ray's reference to the process id of an ``actor_of``, whatever else it has to do.

    A death ends the question: Ray is not to ask the actor's successor.
    """
    return worker.pid.options(max_task_retries=0, concurrency_group=_GROUP).remote()


def num_restarts_of(worker: Any) -> int:
    """How often Ray has started an actor again.

    From Ray's own table: its public ways to ask need its dashboard, and an actor that lives shorter
    than the time between two questions is seen nowhere else.
    """
    found: int = ray._private.state.actors(worker._actor_id.hex())["NumRestarts"]
    return found


class Heartbeat:
    """Asks one actor, made by ``actor_of``.

    An actor that stops answering though it lives, as a stopped process or one that waits for a lock
    for ever does, is killed: its callers then go on as after any death. While it starts, it is
    given all the time it needs. A look has to be taken at least every second for the limit to be
    kept.

    Threads: none of its own. ``check`` never waits.

    Args:
        worker: the actor's handle.
        name: of what it does, for the log.
        limit_s: how long an answer may take.
        may_restart: Ray starts it again.
        clock: monotonic time in seconds.
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
        self.error: BaseException | None = None  # that told of its last death
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
        """What is new; the next question is asked where one is due."""
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
            _LOG.error("a %s has not answered for %g s; it is ended", self._name, self._limit_s)
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
        self._is_starting = False
        if pid == self.pid:
            return Health.ALIVE
        self.pid = pid
        known, self.num_restarts = self.num_restarts, num_restarts_of(self.worker)
        return Health.ALIVE if self.num_restarts == known else Health.RESTARTED
