"""The claims of a runtime on its sessions: made, renewed and given up without Ray."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from maskstream.core.errors import RuntimeFailedError, SessionError, StoreError
from maskstream.pipeline.store import SessionStore

_LOG = logging.getLogger("maskstream.runtime")

_CLAIM_WAIT_S = 0.5
_LOOK_EVERY_S = 0.5
_STORE_PAUSE_S = 0.5


class Claims:
    """Claims sessions that no runtime serves, and keeps the claims while the runtime works.

    Promises: never more than ``max_sessions`` claims. Each is renewed three times a lease, for as
    long as ``find_fault`` finds none. With the first fault all are given up, so that another
    runtime goes on with the sessions at once, and ``failure`` says why.

    Threads: the *claimer* waits for sessions. The *keeper* renews claims and looks for faults.
    Neither calls Ray, which may never answer once a part of it has died.

    Args:
        store: holds the sessions.
        holder: the name of the runtime.
        lease_s: how long a claim is valid without renewal.
        max_sessions: how many sessions may be claimed at once.
        find_fault: says why the runtime cannot serve any more; None: it can.

    Attributes:
        is_over: set when the claims have been given up because of a fault, or by ``stop``.
        failure: the fault, or None.
    """

    def __init__(
        self,
        store: SessionStore,
        holder: str,
        lease_s: float,
        max_sessions: int,
        find_fault: Callable[[], str | None],
    ) -> None:
        self._store = store
        self._holder = holder
        self._lease_s = lease_s
        self._find_fault = find_fault
        self._room = threading.Semaphore(max_sessions)
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        # When each claim was renewed last, monotonic time.
        self._renewed_s: dict[str, float] = {}
        self._claims_more = True
        self.is_over = threading.Event()
        self.failure: RuntimeFailedError | None = None
        self._threads = [
            threading.Thread(target=target, name=f"runtime-{name}", daemon=True)
            for target, name in ((self._claim, "claimer"), (self._keep, "keeper"))
        ]

    def start(self) -> None:
        """Begin to claim sessions."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Claim and renew no more. The claims stand until ``give_up`` or their lease's end."""
        self.is_over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)

    def claim_no_more(self) -> None:
        """Leave sessions that are not claimed yet to other runtimes."""
        self._claims_more = False

    def take_new(self) -> list[str]:
        """The sessions that were claimed since the last call."""
        taken = []
        while not self._new.empty():
            taken.append(self._new.get())
        return taken

    def forget(self, session_id: str) -> None:
        """A session is over or was lost: make room for another one."""
        with self._lock:
            if self._renewed_s.pop(session_id, None) is not None:
                self._room.release()

    def give_up(self) -> None:
        """Let all claims run out now."""
        with self._lock:
            session_ids, self._renewed_s = list(self._renewed_s), {}
        for session_id in session_ids:
            self._room.release()
            try:
                self._store.release_claim(session_id, self._holder)
            except SessionError:
                continue  # the session is gone
            except StoreError as error:  # the claims run out by themselves
                _LOG.warning("%s", error)
                return

    # The claimer's thread

    def _claim(self) -> None:
        while self._claims_more and not self.is_over.is_set():
            if not self._room.acquire(timeout=_CLAIM_WAIT_S):
                continue
            session_id = None
            try:
                session_id = self._store.claim_session(
                    self._holder, self._lease_s, timeout_s=_CLAIM_WAIT_S
                )
            except StoreError as error:
                _LOG.warning("%s", error)
                self.is_over.wait(_STORE_PAUSE_S)
            if session_id is None or not self._note_claimed(session_id):
                self._room.release()
        if self.failure is not None:
            self.give_up()  # what was claimed at that very moment

    def _note_claimed(self, session_id: str) -> bool:
        """False: its claim had run out, and is this runtime's again."""
        with self._lock:
            is_new = session_id not in self._renewed_s
            self._renewed_s[session_id] = time.monotonic()
        if is_new:
            self._new.put(session_id)
        return is_new

    # The keeper's thread

    def _keep(self) -> None:
        while not self.is_over.wait(min(_LOOK_EVERY_S, self._lease_s / 6)):
            fault = self._find_fault()
            if fault is not None:
                self._fail(fault)
                return
            self._renew()

    def _fail(self, fault: str) -> None:
        self.failure = RuntimeFailedError(
            f"this runtime can serve no more: {fault}; its sessions are free for another one"
        )
        self.is_over.set()
        _LOG.error("%s", self.failure)
        self.give_up()

    def _renew(self) -> None:
        now_s = time.monotonic()
        with self._lock:
            due = [
                name
                for name, renewed_s in self._renewed_s.items()
                if now_s - renewed_s >= self._lease_s / 3
            ]
        for session_id in due:
            try:
                if not self._store.renew_claim(session_id, self._holder):
                    _LOG.info("session %s is over, or another runtime serves it", session_id)
            except SessionError:
                pass  # the session is gone; its runner finds out too
            except StoreError as error:
                _LOG.warning("%s", error)
                return
            with self._lock:
                if session_id in self._renewed_s:
                    self._renewed_s[session_id] = now_s
