"""Track workers that stand by to take a dead one's place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from workers.faults import DEATHS, RestartBudget

_LOG = logging.getLogger("maskstream.runtime")


@dataclass(slots=True)
class _Spare:
    """A track worker without sessions.

    Attributes:
        answer: Ray's reference to its process id, asked for again and again.
        pid: None until its models are loaded.
    """

    worker: Any
    answer: Any
    pid: int | None = None


class Spares:
    """Idle track workers with their models loaded.

    Promises: there are as many as were asked for, or the missing ones are being started; one that
    dies is replaced, unless they die too often.

    Threads: none of its own. ``take`` and ``watch`` are the supervisor's.

    Args:
        start: starts a track worker that makes itself ready.
        num: how many.
        budget: how often they may die.
    """

    def __init__(self, start: Callable[[], Any], num: int, budget: RestartBudget) -> None:
        self._start = start
        self._num = num
        self._budget = budget
        self._spares: list[_Spare] = []

    @property
    def workers(self) -> list[Any]:
        """Handles, oldest first."""
        return [spare.worker for spare in self._spares]

    @property
    def pids(self) -> list[int]:
        """Process ids of those that have loaded their models, oldest first."""
        return [spare.pid for spare in self._spares if spare.pid is not None]

    def take(self) -> Any:
        """The oldest, which is farthest on its way if none is ready; None when there is none.

        Another is started by the next ``watch`` only, so that its start does not compete with the
        sessions that are being restored now.
        """
        return self._spares.pop(0).worker if self._spares else None

    def watch(self) -> None:
        """See which are ready and which have died, and start those that are missing."""
        for spare in list(self._spares):
            if ray.wait([spare.answer], timeout=0)[0]:
                self._note_answer(spare)
        while len(self._spares) < self._num:
            worker = self._start()
            self._spares.append(_Spare(worker, worker.pid.remote()))

    def _note_answer(self, spare: _Spare) -> None:
        try:
            spare.pid = ray.get(spare.answer)
        except DEATHS as error:
            self._spares.remove(spare)
            _LOG.warning("a spare track worker has died")
            if not self._budget.note_death():
                self._num -= 1
                _LOG.error("spares have died %s; one less is kept: %s", self._budget, error)
        else:
            spare.answer = spare.worker.pid.remote()
