"""The Redis store's sessions: their creation, state and end, and which runtime serves them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any

from maskstream.core.errors import SessionNotFoundError, StoreError
from maskstream.core.redaction import redact_json, redact_url
from maskstream.pipeline.store import problems, stored
from maskstream.pipeline.store.codec import to_json
from maskstream.pipeline.store.records import (
    Claim,
    Counters,
    NewSession,
    ServiceLimits,
    SessionListing,
    SessionRecord,
    SessionState,
)
from maskstream.pipeline.store.redis_part import RedisPart, optional_json, token


class RedisSessions(RedisPart):
    """See :class:`maskstream.pipeline.store.base.SessionStore` for what the methods promise."""

    # What this process has set, to set it again when the server has lost its data.
    _service_limits: ServiceLimits | None = None

    def set_service_limits(self, limits: ServiceLimits) -> None:
        self._service_limits = limits
        self._link.set_fields(self._keys.limits, limits.model_dump())

    def create_session(self, new: NewSession) -> SessionRecord:
        source = redact_url(new.source)
        protected = source != new.source
        secret = self._sealer.seal(new.source, new.session_id) if protected else b""
        record = {
            "session_id": new.session_id,
            "owner": new.owner,
            "source": source,
            "has_credentials": protected,
            "options": redact_json(new.options),
        }
        defaults = ServiceLimits()
        answer = self._link.run(
            "create",
            new.session_id,
            secrets.token_hex(8),
            to_json(record, "options"),
            to_json(new.limits, "limits"),
            to_json(Counters(), "counters"),
            max(1, round(new.limits.expire_after_s * 1000)),
            new.owner,
            secret,
            defaults.max_sessions,
            defaults.max_sessions_per_owner,
        )
        if answer[0] == "exists":
            raise problems.exists(new.session_id)
        if answer[0] == "limit":
            raise problems.too_many_sessions(new.owner, answer[2].decode(), int(answer[1]))
        if self._link.lost_data():
            self._link.adopt_data()
        return self.get_session(new.session_id)

    def get_session(self, session_id: str) -> SessionRecord:
        return self._look_at(session_id, counts_as_use=True)[0]

    def list_sessions(self, owner: str | None = None) -> SessionListing:
        found, unreadable = [], []
        for name in self._link.run("list", "")[1]:
            try:
                found.append(self._look_at(name.decode(), counts_as_use=False)[0])
            except SessionNotFoundError:
                continue  # it went in between
            except (StoreError, UnicodeDecodeError) as error:
                if isinstance(error, StoreError) and error.key is None:
                    raise
                unreadable.append(str(error))
        found.sort(key=lambda record: (record.created_s, record.session_id))
        return SessionListing(
            sessions=tuple(one for one in found if owner is None or one.owner == owner),
            unreadable=tuple(unreadable),
        )

    def delete_session(self, session_id: str) -> bool:
        known = problems.is_session_id(session_id)
        return known and bool(self._link.run("delete", session_id)[1])

    def reveal_source(self, session_id: str) -> str:
        _, secret, record = self._run("reveal_source", session_id)
        if secret:
            return self._sealer.unseal(secret, session_id)
        return stored.source(record, self._keys.session(session_id))

    def transition(
        self,
        session_id: str,
        to: SessionState,
        *,
        expected: Collection[SessionState] | None = None,
        reason: str = "",
        writer: int | None = None,
    ) -> SessionRecord:
        allowed = problems.starting_states(to, expected)
        answer = self._run(
            "transition",
            session_id,
            to,
            problems.short_reason(reason),
            secrets.token_hex(8),
            token(writer),
            int(to.is_over),
            *allowed,
        )
        if answer[0] == "refused":
            raise problems.wrong_state(session_id, answer[1].decode(), f"become {to}", allowed)
        return self.get_session(session_id)

    def report(
        self,
        session_id: str,
        *,
        counters: Counters | None = None,
        epoch: int | None = None,
        stats: Mapping[str, Any] | None = None,
        writer: int | None = None,
    ) -> None:
        self._run(
            "report",
            session_id,
            token(writer),
            optional_json(counters, "counters"),
            "" if epoch is None else epoch,
            b"" if stats is None else problems.stats_text(stats),
        )

    def wait_for_state(
        self, session_id: str, states: Collection[SessionState], timeout_s: float
    ) -> SessionRecord:
        def look() -> tuple[SessionRecord, bool, bytes]:
            record, event = self._look_at(session_id, counts_as_use=True)
            return record, record.state in states, event

        return self._link.wait(session_id, look, timeout_s)

    # Which runtime serves a session, which worker writes for it

    def claim_session(self, holder: str, lease_s: float, timeout_s: float = 0.0) -> str | None:
        deadline = time.monotonic() + timeout_s
        limits = self._service_limits
        again = () if limits is None else (limits.max_sessions, limits.max_sessions_per_owner)
        while True:
            answer = self._link.run("claim", "", holder, round(lease_s * 1000), *again)
            if answer[0] == "ok":
                entry, session_id = answer[1], stored.work_item(answer[2])
                if session_id and self._accept_work(session_id, entry, lease_s):
                    return session_id
                self._link.run("drop_work", "", entry)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._link.sleep_until_news(self._keys.work, answer[1], min(left, lease_s / 2))

    def renew_claim(self, session_id: str, holder: str) -> bool:
        return bool(self._run("renew", session_id, holder)[1])

    def release_claim(self, session_id: str, holder: str) -> bool:
        return bool(self._run("release", session_id, holder)[1])

    def get_claim(self, session_id: str) -> Claim | None:
        _, holder, silent_ms, lease_ms = self._run("get_claim", session_id)
        return stored.claim(holder, silent_ms, lease_ms, self._keys.session(session_id))

    def take_over(self, session_id: str) -> int:
        return int(self._run("take_over", session_id)[1])

    def _look_at(self, session_id: str, *, counts_as_use: bool) -> tuple[SessionRecord, bytes]:
        answer = self._run("get", session_id, int(counts_as_use))
        _, flat, left_ms, now_ms, event = answer
        expires_s = (now_ms + left_ms) / 1000
        return stored.session(flat, expires_s, self._keys.session(session_id)), event

    def _accept_work(self, session_id: str, entry: bytes, lease_s: float) -> bool:
        """Complete a claim, which then holds for ``lease_s``. False: the session is gone or over,
        or this is not its entry in the queue of work.
        """
        return bool(self._link.run("accept_work", session_id, entry, round(lease_s * 1000))[1])
