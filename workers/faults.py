"""What it means when a call to an actor fails.

The actor died: ``RayActorError`` (ActorDiedError, ActorUnavailableError), ``WorkerCrashedError``,
``NodeDiedError``, and, for what it owned, ``ObjectLostError`` with its kinds. Such work is done
again elsewhere. ``RayTaskError`` is an error that the actor's code has raised: it would be raised
again, so it is never a reason to retry.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    WorkerCrashedError,
)

DEATHS = (RayActorError, ActorUnavailableError, WorkerCrashedError, NodeDiedError, ObjectLostError)


class RestartBudget:
    """How often something may die.

    Args:
        max_deaths: within the window.
        window_s: length of the window.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, max_deaths: int, window_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_deaths = max_deaths
        self._window_s = window_s
        self._clock = clock
        self._deaths: deque[float] = deque()
        self.num_deaths = 0

    def note_death(self) -> bool:
        """Count a death; whether it may be restarted once more."""
        now = self._clock()
        self.num_deaths += 1
        self._deaths.append(now)
        while self._deaths[0] <= now - self._window_s:
            self._deaths.popleft()
        return len(self._deaths) <= self._max_deaths

    def __str__(self) -> str:
        return f"{len(self._deaths)} times within {self._window_s:g} s"
