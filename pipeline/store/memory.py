"""The session store of one process: what tests use, and what serves where nothing is shared."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from maskstream.core.redaction import redact_json, redact_url
from maskstream.pipeline.store import problems
from maskstream.pipeline.store.codec import as_stored
from maskstream.pipeline.store.memory_session import MemorySession
from maskstream.pipeline.store.records import (
    Checkpoint,
    Claim,
    Counters,
    JournalEntry,
    JournalPage,
    NewEntry,
    NewSession,
    Outcome,
    PushedPage,
    PushReceipt,
    ResultEntry,
    ResultPage,
    ServiceLimits,
    SessionListing,
    SessionRecord,
    SessionState,
)

T = TypeVar("T")


class MemoryStore:
    """See :class:`maskstream.pipeline.store.base.SessionStore`. One lock guards everything."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, MemorySession] = OrderedDict()
        self._limits = ServiceLimits()
        self._news = threading.Condition()

    @property
    def url(self) -> str | None:
        return None

    def ping(self) -> None:
        return

    def close(self) -> None:
        with self._news:
            self._sessions.clear()
            self._news.notify_all()

    def set_service_limits(self, limits: ServiceLimits) -> None:
        with self._news:
            self._limits = limits

    # Sessions

    def create_session(self, new: NewSession) -> SessionRecord:
        new = as_stored(new, "options")
        with self._news:
            self._forget_expired()
            if new.session_id in self._sessions:
                raise problems.exists(new.session_id)
            self._check_room(new.owner)
            source, now = redact_url(new.source), time.time()
            record = SessionRecord(
                session_id=new.session_id,
                owner=new.owner,
                source=source,
                has_credentials=source != new.source,
                options=redact_json(new.options),
                limits=new.limits,
                state=SessionState.STARTING,
                reason="",
                created_s=now,
                updated_s=now,
                expires_s=now + new.limits.expire_after_s,
                epoch=0,
                writer=0,
                counters=Counters(),
                num_prompts=0,
                journal_sequence=0,
                settled_sequence=0,
                result_sequence=0,
                last_result=None,
            )
            self._sessions[new.session_id] = MemorySession(record, new.source)
            self._news.notify_all()
            return record

    def get_session(self, session_id: str) -> SessionRecord:
        with self._news:
            return self._session(session_id).record

    def list_sessions(self, owner: str | None = None) -> SessionListing:
        with self._news:
            self._forget_expired()
            records = [session.record for session in self._sessions.values()]
        records.sort(key=lambda record: (record.created_s, record.session_id))
        return SessionListing(
            sessions=tuple(one for one in records if owner is None or one.owner == owner),
            unreadable=(),
        )

    def delete_session(self, session_id: str) -> bool:
        with self._news:
            self._forget_expired()
            self._news.notify_all()
            return self._sessions.pop(session_id, None) is not None

    def reveal_source(self, session_id: str) -> str:
        with self._news:
            return self._session(session_id).source

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
        with self._news:
            session = self._session(session_id, writer)
            state = session.record.state
            if state not in allowed:
                raise problems.wrong_state(session_id, state, f"become {to}", allowed)
            session.update(state=to, reason=problems.short_reason(reason), updated_s=time.time())
            self._news.notify_all()
            return session.record

    def report(
        self,
        session_id: str,
        *,
        counters: Counters | None = None,
        epoch: int | None = None,
        stats: Mapping[str, Any] | None = None,
        writer: int | None = None,
    ) -> None:
        told = None if stats is None else json.loads(problems.stats_text(stats))
        with self._news:
            session = self._session(session_id, writer)
            if told is not None:
                session.update(stats=told)
            if counters is not None:
                session.update(counters=counters)
            if epoch is not None:
                session.update(epoch=max(epoch, session.record.epoch))

    def wait_for_state(
        self, session_id: str, states: Collection[SessionState], timeout_s: float
    ) -> SessionRecord:
        def look() -> tuple[SessionRecord, bool]:
            record = self._session(session_id).record
            return record, record.state in states

        return self._wait(look, timeout_s)

    # Which runtime serves a session, which worker writes for it

    def claim_session(self, holder: str, lease_s: float, timeout_s: float = 0.0) -> str | None:
        def look() -> tuple[str | None, bool]:
            self._forget_expired()
            now = time.monotonic()
            for session_id, session in self._sessions.items():
                free = session.holder is None or now - session.claimed_at >= lease_s
                if free and not session.record.state.is_over:
                    session.holder, session.claimed_at, session.lease_s = holder, now, lease_s
                    return session_id, True
            return None, False

        # A claim lapses without anyone saying so.
        return self._wait(look, timeout_s, look_every_s=lease_s / 2)

    def renew_claim(self, session_id: str, holder: str) -> bool:
        with self._news:
            session = self._session(session_id)
            if session.holder != holder or session.record.state.is_over:
                return False
            session.claimed_at = time.monotonic()
            return True

    def get_claim(self, session_id: str) -> Claim | None:
        with self._news:
            session = self._session(session_id)
            if session.holder is None or session.record.state.is_over:
                return None
            silent_s = time.monotonic() - session.claimed_at
            return Claim(holder=session.holder, silent_s=silent_s, lease_s=session.lease_s)

    def take_over(self, session_id: str) -> int:
        with self._news:
            session = self._session(session_id)
            session.update(writer=session.record.writer + 1)
            return session.record.writer

    # The journal

    def append_entry(self, session_id: str, new: NewEntry) -> JournalEntry:
        new = as_stored(new, "payload")
        with self._news:
            entry = self._session(session_id).append(new)
            self._news.notify_all()
            return entry

    def read_journal(
        self, session_id: str, after: int = 0, *, count: int = 100, timeout_s: float = 0.0
    ) -> JournalPage:
        problems.check_range(after, count)

        def look() -> tuple[JournalPage, bool]:
            session = self._session(session_id)
            newest = session.record.journal_sequence
            if after > newest:
                raise problems.cursor_ahead(session_id, "journal", after, newest)
            entries = tuple(session.journal[after : after + count])
            return JournalPage(entries=entries, cursor=after + len(entries)), bool(entries)

        return self._wait(look, timeout_s)

    def settle_entry(
        self,
        session_id: str,
        sequence: int,
        outcome: Outcome,
        *,
        checkpoint: Checkpoint | None = None,
        writer: int | None = None,
    ) -> Outcome:
        clean = problems.clean_outcome(as_stored(outcome, "outcome"))
        with self._news:
            stored = self._session(session_id, writer).settle(sequence, clean, checkpoint)
            self._news.notify_all()
            return stored

    def wait_settled(self, session_id: str, sequence: int, timeout_s: float) -> JournalEntry:
        def look() -> tuple[JournalEntry, bool]:
            entry = self._session(session_id).entry(sequence)
            return entry, entry.outcome is not None

        return self._wait(look, timeout_s)

    # The log of results

    def publish_result(
        self,
        session_id: str,
        entry: ResultEntry,
        *,
        counters: Counters | None = None,
        writer: int | None = None,
    ) -> int | None:
        with self._news:
            sequence = self._session(session_id, writer).publish(entry, counters)
            self._news.notify_all()
            return sequence

    def read_results(
        self, session_id: str, cursor: int = 0, *, count: int = 64, timeout_s: float = 0.0
    ) -> ResultPage:
        problems.check_range(cursor, count)

        def look() -> tuple[ResultPage, bool]:
            page = self._session(session_id).results_after(cursor, count)
            return page, page.cursor > cursor or page.is_end

        return self._wait(look, timeout_s)

    # Frames that a client pushes

    def push_frame(self, session_id: str, blob: bytes, pts_s: float | None = None) -> PushReceipt:
        with self._news:
            receipt = self._session(session_id).push_frame(blob, problems.check_time(pts_s))
            self._news.notify_all()
            return receipt

    def finish_frames(self, session_id: str) -> None:
        with self._news:
            self._session(session_id).finish_frames()
            self._news.notify_all()

    def take_frames(
        self,
        session_id: str,
        after: int = 0,
        *,
        done: int | None = None,
        count: int = 8,
        timeout_s: float = 0.0,
    ) -> PushedPage:
        problems.check_range(after, count)
        oldest = problems.frames_to_keep(after, done)

        def look() -> tuple[PushedPage, bool]:
            page = self._session(session_id).take_frames(after, oldest, count)
            return page, bool(page.frames) or page.is_end

        return self._wait(look, timeout_s)

    # Checkpoints

    def save_checkpoint(
        self, session_id: str, checkpoint: Checkpoint, *, writer: int | None = None
    ) -> bool:
        with self._news:
            return self._session(session_id, writer).save(checkpoint)

    def load_checkpoint(self, session_id: str) -> Checkpoint | None:
        with self._news:
            return self._session(session_id).checkpoint

    # What they have in common

    def _session(self, session_id: str, writer: int | None = None) -> MemorySession:
        """The session, used now."""
        self._forget_expired()
        session = self._sessions.get(session_id)
        if session is None:
            raise problems.not_found(session_id)
        if writer is not None and writer != session.record.writer:
            raise problems.superseded(session_id)
        session.update(expires_s=time.time() + session.limits.expire_after_s)
        return session

    def _forget_expired(self) -> None:
        now = time.time()
        expired = [
            name for name, session in self._sessions.items() if session.record.expires_s <= now
        ]
        for name in expired:
            del self._sessions[name]

    def _check_room(self, owner: str) -> None:
        open_ones = [s.record for s in self._sessions.values() if not s.record.state.is_over]
        owned = sum(record.owner == owner for record in open_ones)
        for name, count in (("max_sessions", len(open_ones)), ("max_sessions_per_owner", owned)):
            most = getattr(self._limits, name)
            if count >= most:
                raise problems.too_many_sessions(owner, name, most)

    def _wait(
        self,
        look: Callable[[], tuple[T, bool]],
        timeout_s: float,
        look_every_s: float | None = None,
    ) -> T:
        """Look again at every change until ``look`` says it is done or the time is up."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                value, done = look()
                left = deadline - time.monotonic()
                if done or left <= 0:
                    return value
                self._news.wait(left if look_every_s is None else min(left, look_every_s))
