"""The actors of a runtime: starts, watches and replaces them."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from maskstream.core.errors import ConfigError, RuntimeFailedError
from maskstream.core.redaction import redact
from maskstream.pipeline.runtime.config import Placement, RuntimeConfig, place
from maskstream.pipeline.runtime.nodes import num_gpus
from maskstream.pipeline.runtime.serving import StoreServer
from maskstream.pipeline.runtime.spares import Spares
from maskstream.pipeline.session.restarts import RestartBudget
from maskstream.pipeline.store.address import StoreAddress
from maskstream.workers.detect import DetectWorker
from maskstream.workers.faults import DEATHS
from maskstream.workers.heartbeat import Health, Heartbeat, actor_of
from maskstream.workers.scheduling import spread
from maskstream.workers.track import TrackWorker

_LOG = logging.getLogger("maskstream.runtime")
_CALLS_AT_ONCE = 64
# A longer time between two checks does not count in full: this process may have been stopped.
_MOST_BETWEEN_WATCHES_S = 5.0


class Cluster:
    """The actors of a runtime, and the number of sessions that each track worker serves.

    Threads: none of its own. The supervisor's thread calls it.

    Args:
        config: how many actors there are, and how they work.
        store: where track workers find the session store.
    """

    def __init__(self, config: RuntimeConfig, store: StoreAddress) -> None:
        self._config = config
        self._spec = {"store": store, "policy": config.policy, "runner": config.runner}
        self.placement: Placement = place(config, num_gpus())
        # The budget of each; None: the worker died too often and was ended.
        self._detect: dict[Heartbeat, RestartBudget | None] = {
            self._new_detect_worker(): RestartBudget(config.max_deaths, config.death_window_s)
            for _ in range(self.placement.num_detect)
        }
        self._track = [
            self._new_track_worker(self.placement.track_gpus)
            for _ in range(self.placement.num_track)
        ]
        self._spares = Spares(
            self._new_spare,
            config.spare_track_workers,
            RestartBudget(config.max_deaths, config.death_window_s),
        )
        # For how long each worker's place has been without one that answers, in seconds.
        self._empty_s: defaultdict[str, float] = defaultdict(float)
        self._watched_s = time.monotonic()
        self._load: Counter[int] = Counter()
        self._lock = threading.Lock()

    def _new_detect_worker(self) -> Heartbeat:
        worker = (
            actor_of(DetectWorker)
            .options(
                **spread(self.placement.detect_gpus),
                max_concurrency=_CALLS_AT_ONCE,
                # Without limit: _note_restarts ends a worker that dies too often.
                max_restarts=-1,
            )
            .remote(self._config.model, self._config.limits)
        )
        limit_s = self._config.runner.unresponsive_s
        return Heartbeat(worker, "detect worker", limit_s, may_restart=True)

    def _new_track_worker(self, num_gpus: float) -> Heartbeat:
        detect = [heartbeat.worker for heartbeat in self._detect]
        worker = (
            actor_of(TrackWorker)
            .options(
                **spread(num_gpus),
                max_concurrency=self._config.max_sessions + 8,
            )
            .remote(
                self._config.model,
                StoreServer,
                self._spec,
                detect,
                self._config.limits,
                self._config.max_retries_of_frame,
            )
        )
        return Heartbeat(worker, "track worker", self._config.runner.unresponsive_s)

    def _new_spare(self) -> Heartbeat:
        heartbeat = self._new_track_worker(self.placement.spare_gpus)
        heartbeat.worker.warm.remote()
        return heartbeat

    # Sessions

    def serve(self, session_id: str) -> tuple[Any, int]:
        """Give a session to the track worker that serves the fewest.

        Returns:
            Ray's reference to the answer of ``TrackWorker.serve``, and the worker's number.
        """
        number = min(range(len(self._track)), key=lambda n: self._load[n])
        self._load[number] += 1
        return self._track[number].worker.serve.remote(session_id), number

    def note_left(self, number: int) -> None:
        """Count one session of a track worker less."""
        self._load[number] -= 1

    def replace_track_worker(self, number: int, dead: Any) -> None:
        """Put a spare in the place of a dead track worker; without spares, start a new worker.

        Does nothing if that worker was replaced before. One that is only out of reach is killed, so
        that it does not come back to hold memory for nobody.

        Args:
            number: the worker's number.
            dead: its handle.
        """
        if self._track[number].worker is dead:
            ray.kill(dead)
            spare = self._spares.take()
            if spare is None:
                spare = self._new_track_worker(self.placement.track_gpus)
            self._track[number] = spare

    def track_worker(self, number: int) -> Any:
        """The handle of a track worker."""
        return self._track[number].worker

    # Health

    def watch(self) -> None:
        """Check all workers: kill those that hang, end detect workers that die too often, and
        replace dead track workers and spares.

        Call it at least once a second; see :class:`Heartbeat`.

        Raises:
            RuntimeFailedError: no worker has answered in one place for ``replace_timeout_s``.
        """
        now_s = time.monotonic()
        passed_s = min(now_s - self._watched_s, _MOST_BETWEEN_WATCHES_S)
        self._watched_s = now_s
        for number, (heartbeat, budget) in enumerate(self._detect.items()):
            if budget is None:
                continue
            if self._check(heartbeat, f"detect worker {number}", passed_s) is Health.RESTARTED:
                self._note_restarts(heartbeat, budget)
        for number, heartbeat in enumerate(self._track):
            if self._check(heartbeat, f"track worker {number}", passed_s) is Health.DEAD:
                _LOG.warning("a track worker has died: %s", redact(str(heartbeat.error)))
                self.replace_track_worker(number, heartbeat.worker)
        self._spares.watch()

    @property
    def has_no_detector(self) -> bool:
        """Whether all detect workers were ended because they died too often."""
        return bool(self._detect) and not any(self._detect.values())

    def _check(self, heartbeat: Heartbeat, place: str, passed_s: float) -> Health:
        health = heartbeat.check()
        if health in (Health.ALIVE, Health.RESTARTED):
            self._empty_s[place] = 0.0
            return health
        self._empty_s[place] += passed_s
        if self._empty_s[place] >= self._config.replace_timeout_s:
            raise RuntimeFailedError(
                f"{place} has not answered for {self._config.replace_timeout_s:g} s, and no other "
                "could be started in its place"
            )
        return health

    def _note_restarts(self, heartbeat: Heartbeat, budget: RestartBudget) -> None:
        _LOG.warning("a detect worker has died and was restarted")
        may_live = True
        while budget.num_deaths < heartbeat.num_restarts:
            may_live = budget.note_death()
        if not may_live:
            _LOG.error("a detect worker has died %s; it is not restarted", budget)
            self._detect[heartbeat] = None
            ray.kill(heartbeat.worker, no_restart=True)

    def pids(self, timeout_s: float = 60.0) -> dict[str, list[int]]:
        """Process ids by kind of actor: ``detect``, ``track`` and ``spare`` (ready ones only)."""
        return {
            "detect": _pids_of(self._detect, timeout_s),
            "track": _pids_of(self._track, timeout_s),
            "spare": self._spares.pids,
        }

    def wait_ready(self) -> None:
        """Wait until all detect and track workers have loaded their models.

        Raises:
            ConfigError: one of them cannot start, or not within ``replace_timeout_s``.
        """
        try:
            self.pids(self._config.replace_timeout_s)
        except (*DEATHS, GetTimeoutError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            causes = [line for line in lines if "Error: " in line] or lines or ["no answer in time"]
            raise ConfigError(f"the workers cannot start: {redact(causes[-1])}") from error

    def close(self) -> None:
        """Tell the track workers to leave all sessions at the next frame."""
        for heartbeat in self._track:
            heartbeat.worker.stop.remote()

    def kill(self) -> None:
        """Kill all actors."""
        for heartbeat in (*self._track, *self._spares.heartbeats, *self._detect):
            ray.kill(heartbeat.worker)


def _pids_of(heartbeats: Iterable[Heartbeat], timeout_s: float) -> list[int]:
    """Ask the actors for their process ids."""
    pids: list[int] = ray.get([one.worker.pid.remote() for one in heartbeats], timeout=timeout_s)
    return pids


def wait_for(answers: list[Any], timeout_s: float) -> list[Any]:
    """Wait for all answers; returns those that came within the time."""
    if not answers:
        return []
    return ray.wait(answers, num_returns=len(answers), timeout=timeout_s)[0]


def wait_for_any(answers: list[Any], timeout_s: float) -> list[Any]:
    """Wait for the first answer; returns all that have come."""
    return ray.wait(answers, num_returns=1, timeout=timeout_s)[0] if answers else []
