"""Track workers that stand by to take a dead one's place."""

from __future__ import annotations

import logging
from collections.abc import Callable

from maskstream.pipeline.session.restarts import RestartBudget
from maskstream.workers.heartbeat import Health, Heartbeat

_LOG = logging.getLogger("maskstream.runtime")


class Spares:
    """Idle track workers with their models loaded.

    Promises: there are as many as were asked for, or the missing ones are being started; one that
    dies is replaced, unless they die too often.

    Threads: none of its own. ``take`` and ``watch`` are the supervisor's.

    Args:
        start: starts a track worker that makes itself ready, and watches it.
        num: how many.
        budget: how often they may die.
    """

    def __init__(self, start: Callable[[], Heartbeat], num: int, budget: RestartBudget) -> None:
        self._start = start
        self._num = num
        self._budget = budget
        self._spares: list[Heartbeat] = []

    @property
    def heartbeats(self) -> list[Heartbeat]:
        """All of them, oldest first."""
        return list(self._spares)

    @property
    def pids(self) -> list[int]:
        """Process ids of those that have loaded their models, oldest first."""
        return [spare.pid for spare in self._spares if spare.pid is not None]

    def take(self) -> Heartbeat | None:
        """The oldest, which is farthest on its way if none is ready; None when there is none.

        Another is started by the next ``watch`` only, so that its start does not compete with the
        sessions that are being restored now.
        """
        return self._spares.pop(0) if self._spares else None

    def watch(self) -> None:
        """See which are ready and which have died, and start those that are missing."""
        for spare in list(self._spares):
            if spare.check() is Health.DEAD:
                self._note_death(spare)
        while len(self._spares) < self._num:
            self._spares.append(self._start())

    def _note_death(self, spare: Heartbeat) -> None:
        self._spares.remove(spare)
        _LOG.warning("a spare track worker has died")
        if not self._budget.note_death():
            self._num -= 1
            _LOG.error("spares have died %s; one less is kept: %s", self._budget, spare.error)
