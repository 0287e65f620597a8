"""Spare track workers, which stand by to replace a dead one."""

from __future__ import annotations

import logging
from collections.abc import Callable

from maskstream.core.redaction import redact
from maskstream.pipeline.session.restarts import RestartBudget
from maskstream.workers.heartbeat import Health, Heartbeat

_LOG = logging.getLogger("maskstream.runtime")


class Spares:
    """Idle track workers with their models loaded.

    Promises: after each ``watch`` there are ``num`` spares, ready or starting. A spare that dies is
    replaced. When spares die too often, one less is kept.

    Threads: none of its own. The supervisor's thread calls ``take`` and ``watch``.

    Args:
        start: starts a track worker that loads its models, and returns its heartbeat.
        num: the number of spares.
        budget: how often spares may die, all together.
    """

    def __init__(self, start: Callable[[], Heartbeat], num: int, budget: RestartBudget) -> None:
        self._start = start
        self._num = num
        self._budget = budget
        self._spares: list[Heartbeat] = []

    @property
    def heartbeats(self) -> list[Heartbeat]:
        """The heartbeats of all spares, oldest first."""
        return list(self._spares)

    @property
    def pids(self) -> list[int]:
        """Process ids of the spares that have loaded their models, oldest first."""
        return [spare.pid for spare in self._spares if spare.pid is not None]

    def take(self) -> Heartbeat | None:
        """Remove the oldest spare and return its heartbeat; None if there is no spare.

        If no spare is ready, the oldest will be the first to be. Only the next ``watch`` starts
        another one, so that its start does not compete with the sessions that are being restored.
        """
        return self._spares.pop(0) if self._spares else None

    def watch(self) -> None:
        """Check all spares, and start those that are missing."""
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
            _LOG.error(
                "spares have died %s; one less is kept: %s",
                self._budget,
                redact(str(spare.error)),  # Ray may list command lines, with addresses in them
            )
