"""The actors of a runtime: starts, watches and replaces them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from maskstream.core.errors import ConfigError
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

        Does nothing if that worker was replaced before.

        Args:
            number: the worker's number.
            dead: its handle.
        """
        if self._track[number].worker is dead:
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
        replace dead spares.

        Call it at least once a second; see :class:`Heartbeat`.
        """
        for heartbeat, budget in self._detect.items():
            if budget is not None and heartbeat.check() is Health.RESTARTED:
                self._note_restarts(heartbeat, budget)
        for heartbeat in self._track:
            heartbeat.check()  # a dead one is replaced when the answers of its sessions come
        self._spares.watch()

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

    def wait_ready(self, timeout_s: float = 600.0) -> None:
        """Wait until all detect and track workers have loaded their models.

        Raises:
            ConfigError: one of them cannot start, or not within the time.
        """
        try:
            self.pids(timeout_s)
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
