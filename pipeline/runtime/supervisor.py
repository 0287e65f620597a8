"""Gives the sessions of a runtime to track workers, and replaces workers that die."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, TypeGuard

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from maskstream.core.error_text import error_text
from maskstream.core.errors import (
    MaskstreamError,
    RuntimeFailedError,
    SessionError,
    StoreError,
)
from maskstream.core.redaction import redact
from maskstream.pipeline.runtime.claims import Claims
from maskstream.pipeline.runtime.cluster import Cluster, wait_for_any
from maskstream.pipeline.runtime.config import RuntimeConfig
from maskstream.pipeline.runtime.nodes import check_own_node
from maskstream.pipeline.runtime.vitals import Vitals
from maskstream.pipeline.session.restarts import RestartBudget
from maskstream.pipeline.store import SessionState, SessionStore
from maskstream.workers.faults import DEATHS

_LOG = logging.getLogger("maskstream.runtime")

_TURN_S = 0.05
_WATCH_EVERY_S = 0.5
_ASK_GCS_EVERY_S = 5.0


@dataclass(slots=True)
class _Served:
    """A session that this runtime has claimed.

    Attributes:
        answer: Ray's reference to what ``TrackWorker.serve`` will return.
        number: number of the track worker that serves it.
        worker: handle of that worker.
        budget: how often track workers may die while they serve it.
    """

    answer: Any
    number: int
    worker: Any
    budget: RestartBudget


class Supervisor:
    """Has claimed sessions served until the claims are over.

    Promises: a session whose track worker dies is served again from its checkpoint. If that happens
    too often, the session fails with the reason; workers that cannot start do not count. If the
    code raises an error, the session fails at once, since the error would come again. If Ray itself
    has failed, no session fails: another runtime is to go on with them. An error of the supervisor
    itself goes to ``vitals``.

    Threads: one of its own, the only one that calls Ray while the runtime runs.

    Args:
        store: holds the sessions.
        config: the runtime's options.
        cluster: the actors.
        claims: which sessions are to be served.
        vitals: is told that the supervisor goes on.
    """

    def __init__(
        self,
        store: SessionStore,
        config: RuntimeConfig,
        cluster: Cluster,
        claims: Claims,
        vitals: Vitals,
    ) -> None:
        self._store = store
        self._config = config
        self._cluster = cluster
        self._claims = claims
        self._vitals = vitals
        self._sessions: dict[str, _Served] = {}
        self._thread = threading.Thread(target=self._run, name="runtime-supervisor", daemon=True)

    @property
    def session_ids(self) -> list[str]:
        """The sessions that are served now."""
        return list(self._sessions)

    @property
    def answers(self) -> list[Any]:
        """Ray's references to the ends of all sessions that are served now."""
        return [served.answer for served in self._sessions.values()]

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread, which comes when the claims are over."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            watched_s = asked_s = 0.0
            while not self._claims.is_over.is_set():
                self._vitals.note_turn()
                self._turn()
                now_s = time.monotonic()
                if now_s - watched_s >= _WATCH_EVERY_S:
                    watched_s = now_s
                    self._watch()
                if now_s - asked_s >= _ASK_GCS_EVERY_S:
                    asked_s = now_s
                    check_own_node()
        except Exception as error:  # whatever it is: without a supervisor nothing is served
            _LOG.debug("the supervisor has failed", exc_info=error)
            self._vitals.fail(error)

    def _turn(self) -> None:
        for session_id in self._claims.take_new():
            budget = RestartBudget(self._config.max_deaths, self._config.death_window_s)
            self._serve(session_id, budget)
        served = {one.answer: session_id for session_id, one in self._sessions.items()}
        for answer in wait_for_any(list(served), _TURN_S):
            self._conclude(served[answer])
        if not served:
            self._claims.is_over.wait(_TURN_S)

    def _watch(self) -> None:
        self._cluster.watch()
        if self._cluster.has_no_detector:
            # Sessions that are served still get the reason; new ones had better go elsewhere.
            self._claims.claim_no_more()
            if not self._sessions:
                raise RuntimeFailedError("all of its detect workers have died too often")

    def _serve(self, session_id: str, budget: RestartBudget) -> None:
        answer, number = self._cluster.serve(session_id)
        worker = self._cluster.track_worker(number)
        self._sessions[session_id] = _Served(answer, number, worker, budget)

    def _conclude(self, session_id: str) -> None:
        """Handle the end of ``TrackWorker.serve`` for a session."""
        served = self._sessions[session_id]
        try:
            how = ray.get(served.answer)
        except RayError as error:
            if not self._vitals.is_ray_whole:
                self._claims.is_over.wait(_TURN_S)
                return
            self._cluster.note_left(served.number)
            self._handle(session_id, served, error)
        else:
            self._cluster.note_left(served.number)
            _LOG.info("session %s: %s", session_id, how)
            self._forget(session_id)

    def _handle(self, session_id: str, served: _Served, error: RayError) -> None:
        """Serve a session again after an error that is not its own, or have it fail."""
        if isinstance(error, RayTaskError):
            if is_out_of_reach(error.cause) and self._still_there(session_id):
                self._serve_again(session_id, served, error_text(error.cause))
                return
            self._fail(session_id, failure_reason(error))
        elif isinstance(error, DEATHS):
            self._cluster.replace_track_worker(served.number, served.worker)
            if isinstance(error, RayActorError) and error.actor_init_failed:
                # It has never begun with the session. The cluster bounds how long that goes on.
                self._serve(session_id, served.budget)
            else:
                self._serve_again(session_id, served, "a track worker has died")
            return
        else:
            self._fail(session_id, f"Ray has failed: {redact(str(error))}")
        self._forget(session_id)

    def _serve_again(self, session_id: str, served: _Served, why: str) -> None:
        _LOG.warning("session %s: %s; it is served again", session_id, why)
        if served.budget.note_death():
            self._serve(session_id, served.budget)
            return
        self._fail(session_id, f"{why}, {served.budget}; giving up")
        self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        del self._sessions[session_id]
        self._claims.forget(session_id)

    def _still_there(self, session_id: str) -> bool:
        try:
            with self._vitals.waiting_for_store():
                return not self._store.get_session(session_id).state.is_over
        except StoreError as error:
            _LOG.warning("session %s: %s", session_id, error)
        except SessionError:
            pass
        return False

    def _fail(self, session_id: str, reason: str) -> None:
        _LOG.error("session %s has failed: %s", session_id, reason)
        try:
            with self._vitals.waiting_for_store():
                self._store.transition(session_id, SessionState.FAILED, reason=reason)
        except MaskstreamError as error:  # session gone or over, or store out of reach
            _LOG.warning("session %s: %s", session_id, error)


def is_out_of_reach(cause: BaseException | None) -> TypeGuard[StoreError]:
    """Whether a later try may succeed. An unreadable entry of the store stays unreadable."""
    return isinstance(cause, StoreError) and cause.key is None


def failure_reason(error: RayTaskError) -> str:
    """The reason of a session's failure, from the error that its track worker raised."""
    cause = error.cause
    if isinstance(cause, DEATHS):
        return (
            "a detect worker has died again and again: frames of a session, or too little memory, "
            "make it crash"
        )
    if isinstance(cause, MaskstreamError):
        return error_text(cause)
    kind = type(cause).__name__ if cause is not None else "error"
    # FFmpeg's messages contain the address, with its credentials.
    return redact(f"an error of the program: {kind}: {cause}")
