"""The runtime: claims sessions, gives them to actors, and replaces actors that die."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from maskstream.core.closing import Closing
from maskstream.core.error_text import error_text
from maskstream.core.errors import ConfigError, MaskstreamError, SessionError, StoreError
from maskstream.core.redaction import redact
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.runtime.cluster import Cluster, wait_for
from maskstream.pipeline.runtime.config import RuntimeConfig
from maskstream.pipeline.runtime.nodes import addresses, check_reachable, start_ray
from maskstream.pipeline.session.restarts import RestartBudget
from maskstream.pipeline.store import SessionState, SessionStore
from maskstream.pipeline.store.address import StoreAddress
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE
from maskstream.pipeline.store.sealing import find_key
from maskstream.workers.faults import DEATHS

_LOG = logging.getLogger("maskstream.runtime")

_CLAIM_WAIT_S = 0.5
_SUPERVISE_EVERY_S = 0.05
_WATCH_EVERY_S = 0.5
_STORE_PAUSE_S = 0.5


@dataclass(slots=True)
class _Served:
    """A session that this runtime has claimed.

    Attributes:
        answer: Ray's reference to what ``TrackWorker.serve`` will return.
        number: number of the track worker that serves it.
        worker: handle of that worker.
        budget: how often track workers may die while they serve it.
        renewed_s: when its claim was last renewed, monotonic time in seconds.
    """

    answer: Any
    number: int
    worker: Any
    budget: RestartBudget
    renewed_s: float


class Runtime(Closing):
    """Serves the sessions of a store until it is closed.

    Promises: sessions survive the death of any worker. When a track worker dies, its sessions
    continue from their checkpoints on another one. Ray restarts detect workers. Sessions restart
    their own decoders. If its workers die too often, a session fails with the reason. If the code
    raises an error, it fails at once, since the error would come again. ``close`` leaves all
    sessions in the store; another runtime, or a new one here, continues them.

    Threads: the *claimer* waits for sessions that no runtime serves. The *supervisor* gives them to
    track workers, renews claims and replaces dead workers.

    Args:
        store: the session store; other processes must be able to open it.
        config: options; None takes the defaults.
        namespace: prefix of the store's keys, the same that the store was opened with.
        secret_key: key that the store seals credentials with; None finds it as ``open_store`` does.

    Raises:
        ConfigError: the store is in memory.
    """

    def __init__(
        self,
        store: SessionStore,
        config: RuntimeConfig | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        secret_key: bytes | None = None,
    ) -> None:
        if store.url is None:
            raise ConfigError(
                "a runtime's workers are separate processes and cannot reach a store in memory; "
                "open a store in Redis, or the embedded one (no URL)"
            )
        self.config = config if config is not None else RuntimeConfig()
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._store = store
        key = find_key(store.url) if secret_key is None else secret_key
        self._address = StoreAddress(store.url, namespace, key)
        self._sessions: dict[str, _Served] = {}
        self._claimed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._room = threading.Semaphore(self.config.max_sessions)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._owns_ray = False
        self._cluster: Cluster | None = None
        self._client: Client | None = None

    # Life

    def start(self) -> None:
        """Start Ray, the actors and the threads. Sessions are served when this returns.

        Raises:
            CheckpointError: there is no such checkpoint.
            ConfigError: the workers cannot be placed, cannot reach the store, or cannot start.
        """
        self.config.model.check()
        self._owns_ray = start_ray(self.config)
        try:
            check_reachable(self._address.url, addresses())
            self._cluster = Cluster(self.config, self._address)
            self._cluster.wait_ready()
        except BaseException:
            self.close()
            raise
        self._stop.clear()
        self._claimed = queue.SimpleQueue()
        self._room = threading.Semaphore(self.config.max_sessions)
        for target, name in ((self._claim, "claimer"), (self._supervise, "supervisor")):
            thread = threading.Thread(target=target, name=f"runtime-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def run(self) -> None:
        """Start, and serve until ``close`` is called or a signal handler raises in this thread."""
        self.start()
        try:
            self._stop.wait()
        finally:
            self.close()

    def close(self, timeout_s: float = 10.0) -> None:
        """Leave all sessions in the store and end the actors. Closing twice is fine."""
        self._stop.set()
        cluster, self._cluster = self._cluster, None
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)
        self._threads.clear()
        if cluster is not None:
            cluster.close()
            wait_for([served.answer for served in self._sessions.values()], timeout_s)
            cluster.kill()
        self._sessions.clear()
        if self._client is not None:
            self._client.store.close()
            self._client = None
        if self._owns_ray:
            ray.shutdown()
            self._owns_ray = False

    def __enter__(self) -> Self:
        """Start; returns the runtime."""
        self.start()
        return self

    # The session API

    def handle_request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """See :class:`maskstream.pipeline.client.client.Client`."""
        return self._own_client().handle_request(request)

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """See :class:`maskstream.pipeline.client.client.Client`."""
        return self._own_client().handle_stream_request(request)

    def _own_client(self) -> Client:
        if self._client is None:
            self._client = Client(self._address.open())
        return self._client

    # Looking in

    @property
    def session_ids(self) -> list[str]:
        """The sessions that this runtime serves now."""
        return list(self._sessions)

    def worker_pids(self) -> dict[str, list[int]]:
        """Process ids of the detect and track workers, and of the spares that are ready."""
        if self._cluster is None:
            return {}
        return self._cluster.pids()

    # The claimer's thread

    def _claim(self) -> None:
        while not self._stop.is_set():
            if not self._room.acquire(timeout=_CLAIM_WAIT_S):
                continue
            session_id = None
            try:
                session_id = self._store.claim_session(
                    self.holder, self.config.lease_s, timeout_s=_CLAIM_WAIT_S
                )
            except StoreError as error:
                _LOG.warning("%s", error)
                self._stop.wait(_STORE_PAUSE_S)
            if session_id is None:
                self._room.release()
            else:
                self._claimed.put(session_id)

    # The supervisor's thread

    def _supervise(self) -> None:
        watched_s = 0.0
        while not self._stop.is_set():
            cluster = self._cluster
            if cluster is None:
                return
            self._take_claimed(cluster)
            answers = {served.answer: name for name, served in self._sessions.items()}
            for answer in wait_for_any(list(answers), _SUPERVISE_EVERY_S):
                self._conclude(cluster, answers[answer])
            if not answers:
                self._stop.wait(_SUPERVISE_EVERY_S)
            self._renew_claims()
            now_s = time.monotonic()
            if now_s - watched_s >= _WATCH_EVERY_S:
                watched_s = now_s
                cluster.watch()

    def _take_claimed(self, cluster: Cluster) -> None:
        while True:
            try:
                session_id = self._claimed.get_nowait()
            except queue.Empty:
                return
            if session_id in self._sessions:  # its claim expired and is ours again
                self._room.release()
                continue
            budget = RestartBudget(self.config.max_deaths, self.config.death_window_s)
            self._serve(cluster, session_id, budget)

    def _serve(self, cluster: Cluster, session_id: str, budget: RestartBudget) -> None:
        answer, number = cluster.serve(session_id)
        # To serve a session again does not renew its claim.
        known = self._sessions.get(session_id)
        renewed_s = time.monotonic() if known is None else known.renewed_s
        self._sessions[session_id] = _Served(
            answer, number, cluster.track_worker(number), budget, renewed_s
        )

    def _conclude(self, cluster: Cluster, session_id: str) -> None:
        """Handle the end of ``TrackWorker.serve`` for a session."""
        served = self._sessions[session_id]
        cluster.note_left(served.number)
        try:
            how = ray.get(served.answer)
        except RayTaskError as error:
            if _is_out_of_reach(error.cause) and self._still_there(session_id):
                self._serve_again(cluster, session_id, served, "the session store was out of reach")
                return
            self._fail(session_id, _failure_reason(error))
        except DEATHS:
            cluster.replace_track_worker(served.number, served.worker)
            self._serve_again(cluster, session_id, served, "a track worker has died")
            return
        except RayError as error:
            self._fail(session_id, f"Ray has failed: {error}")
        else:
            _LOG.info("session %s: %s", session_id, how)
        self._forget(session_id)

    def _serve_again(self, cluster: Cluster, session_id: str, served: _Served, what: str) -> None:
        _LOG.warning("session %s: %s; it is served again", session_id, what)
        if served.budget.note_death():
            self._serve(cluster, session_id, served.budget)
            return
        self._fail(session_id, f"{what}, {served.budget}; giving up")
        self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        del self._sessions[session_id]
        self._room.release()

    def _still_there(self, session_id: str) -> bool:
        try:
            return not self._store.get_session(session_id).state.is_over
        except StoreError as error:
            _LOG.warning("session %s: %s", session_id, error)
        except SessionError:
            pass
        return False

    def _fail(self, session_id: str, reason: str) -> None:
        _LOG.error("session %s has failed: %s", session_id, reason)
        try:
            self._store.transition(session_id, SessionState.FAILED, reason=reason)
        except MaskstreamError as error:  # session gone or over, or store out of reach
            _LOG.warning("session %s: %s", session_id, error)

    def _renew_claims(self) -> None:
        now_s = time.monotonic()
        for session_id, served in list(self._sessions.items()):
            if now_s - served.renewed_s < self.config.lease_s / 3:
                continue
            served.renewed_s = now_s
            try:
                if not self._store.renew_claim(session_id, self.holder):
                    _LOG.info("session %s is over, or another runtime serves it", session_id)
            except SessionError:
                continue  # the session is gone; its runner finds out too
            except StoreError as error:
                _LOG.warning("%s", error)
                return


def wait_for_any(answers: list[Any], timeout_s: float) -> list[Any]:
    """Wait for the first answer; returns all that have come."""
    return ray.wait(answers, num_returns=1, timeout=timeout_s)[0] if answers else []


def _is_out_of_reach(cause: BaseException | None) -> bool:
    """Whether a later try may succeed. An unreadable entry of the store stays unreadable."""
    return isinstance(cause, StoreError) and cause.key is None


def _failure_reason(error: RayTaskError) -> str:
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
