"""The runtime: starts Ray, the actors and the threads that serve sessions, and ends them."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Self

import ray

from maskstream.core.closing import Closing
from maskstream.core.errors import ConfigError, RuntimeFailedError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.runtime.claims import Claims
from maskstream.pipeline.runtime.cluster import Cluster, wait_for
from maskstream.pipeline.runtime.config import RuntimeConfig
from maskstream.pipeline.runtime.nodes import (
    GCS,
    RayProcesses,
    addresses,
    check_reachable,
    start_ray,
)
from maskstream.pipeline.runtime.supervisor import Supervisor
from maskstream.pipeline.runtime.vitals import Vitals
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.store.address import StoreAddress
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE
from maskstream.pipeline.store.sealing import find_key


class Runtime(Closing):
    """Serves the sessions of a store until it is closed.

    Promises: sessions survive the death of any worker. When a track worker dies, its sessions
    continue from their checkpoints on another one. Ray restarts detect workers. Sessions restart
    their own decoders. If its workers die too often, a session fails with the reason. If the code
    raises an error, it fails at once, since the error would come again. ``close`` leaves all
    sessions in the store; another runtime, or a new one here, continues them.

    When the runtime itself can serve no more, it gives up its sessions at once, and ``failure``
    says why: a part of Ray has died, a worker cannot be replaced, or the supervisor has failed.

    Threads: two that claim sessions and renew the claims (``Claims``), and one that has them served
    (``Supervisor``).

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
        self._owns_ray = False
        self._cluster: Cluster | None = None
        self._claims: Claims | None = None
        self._supervisor: Supervisor | None = None
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
        config = self.config
        vitals = Vitals(
            RayProcesses.of_this_process().find_missing,
            {GCS: config.gcs_missing_s},
            config.ray_answer_s,
        )
        self._claims = Claims(
            self._store, self.holder, config.lease_s, config.max_sessions, vitals.find_fault
        )
        self._supervisor = Supervisor(self._store, config, self._cluster, self._claims, vitals)
        self._supervisor.start()
        self._claims.start()

    @property
    def failure(self) -> RuntimeFailedError | None:
        """Why this runtime has given up its sessions; None: it has not."""
        return None if self._claims is None else self._claims.failure

    def run(self) -> None:
        """Start, and serve until ``close`` is called or a signal handler raises in this thread.

        Raises:
            RuntimeFailedError: the runtime can serve no more.
        """
        self.start()
        try:
            self.wait()
        finally:
            self.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the runtime is closed or the time is up; returns whether it is closed.

        Raises:
            RuntimeFailedError: the runtime can serve no more.
        """
        claims = self._claims
        is_over = claims is None or claims.is_over.wait(timeout_s)
        if claims is not None and claims.failure is not None:
            raise claims.failure
        return is_over

    def close(self, timeout_s: float = 10.0) -> None:
        """Leave all sessions in the store, free for other runtimes, and end the actors.

        Closing twice is fine. When Ray itself has failed, its part is given up after
        ``timeout_s``; then end the process with ``os._exit``, since Ray may hold up its end, too.
        """
        claims, supervisor, cluster = self._claims, self._supervisor, self._cluster
        if claims is not None:
            claims.stop(timeout_s)
        if self.failure is None:
            self._close_ray(cluster, supervisor, timeout_s)
        else:
            ending = threading.Thread(
                target=self._close_ray, args=(cluster, supervisor, timeout_s / 4), daemon=True
            )
            ending.start()
            ending.join(timeout_s)
        if claims is not None:
            claims.give_up()
        self._cluster = self._supervisor = None
        if self._client is not None:
            self._client.store.close()
            self._client = None

    def _close_ray(
        self, cluster: Cluster | None, supervisor: Supervisor | None, timeout_s: float
    ) -> None:
        if supervisor is not None:
            supervisor.join(timeout_s)
        if cluster is not None:
            cluster.close()
            wait_for([] if supervisor is None else supervisor.answers, timeout_s)
            cluster.kill()
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
        return [] if self._supervisor is None else self._supervisor.session_ids

    def worker_pids(self) -> dict[str, list[int]]:
        """Process ids of the detect and track workers, and of the spares that are ready."""
        if self._cluster is None:
            return {}
        return self._cluster.pids()
