"""Whether a runtime still serves a session that a client waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

from maskstream.core.errors import SessionError
from maskstream.pipeline.store import Claim, SessionStore


class HolderWatch:
    """Notices that the runtime of a session is gone, and that no other runtime takes over.

    One look at a claim that has run out does not prove it: while the store is away, no runtime can
    renew its claims, and all renew them as soon as the store is back. So the claim must stay run
    out for a while, by the clock of this process.

    A session without a claim is not watched: no runtime has taken it yet, or it runs in this
    process.

    Args:
        takeover_timeout_s: how long another runtime may take to go on with the session, from the
            moment that this watch sees that the claim has run out; None: as long as the lease.
        clock: gives monotonic time in seconds.
    """

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        takeover_timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._session_id = session_id
        self._timeout_s = takeover_timeout_s
        self._clock = clock
        self._unserved_since_s: float | None = None

    def note_news(self) -> None:
        """Something new has come from the session, so a runtime works on it."""
        self._unserved_since_s = None

    def check(self) -> None:
        """Look at the claim, when nothing has come for a while.

        Raises:
            SessionError: no runtime has served the session for too long.
        """
        claim = self._store.get_claim(self._session_id)
        if claim is None or not claim.has_run_out:
            self._unserved_since_s = None
            return
        now_s = self._clock()
        if self._unserved_since_s is None:
            self._unserved_since_s = now_s
        timeout_s = claim.lease_s if self._timeout_s is None else self._timeout_s
        if now_s - self._unserved_since_s >= timeout_s:
            raise _unserved(self._session_id, claim)


def _unserved(session_id: str, claim: Claim) -> SessionError:
    return SessionError(
        f"nobody serves session {session_id} any more: runtime {claim.holder} was last heard of "
        f"{claim.silent_s:.0f} s ago and no other has taken over; start one on this store "
        "(maskstream serve), which goes on with the session"
    )
