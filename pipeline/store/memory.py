"""The session store in the memory of this process, for sessions that no other process uses."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from maskstream.core.closing import Closing
from maskstream.core.errors import SessionNotFoundError
from maskstream.core.redaction import redact_json, redact_url
from maskstream.pipeline.store import problems
from maskstream.pipeline.store.codec import as_stored, json_copy, to_json
from maskstream.pipeline.store.memory_session import MemorySession
from maskstream.pipeline.store.pictures import MemoryPictures, PictureRing
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


class MemoryStore(Closing):
    """See :class:`maskstream.pipeline.store.base.SessionStore`.

    One lock guards all. A session's ``news`` and ``_work`` (new sessions) wake those who wait.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, MemorySession] = OrderedDict()
        self._limits = ServiceLimits()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self.pictures: PictureRing = MemoryPictures()

    @property
    def url(self) -> str | None:
        return None

    def ping(self) -> None:
        return

    def close(self) -> None:
        with self._lock:
            for session in self._sessions.values():
                session.news.notify_all()
            self._sessions.clear()

    def set_service_limits(self, limits: ServiceLimits) -> None:
        with self._lock:
            self._limits = limits

    # Sessions

    def create_session(self, new: NewSession) -> SessionRecord:
        new = as_stored(new, "options")
        with self._lock:
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
                read_sequence=0,
                last_result=None,
            )
            news = threading.Condition(self._lock)
            self._sessions[new.session_id] = MemorySession(
                record, new.source, news, record.expires_s
            )
            self._work.notify_all()
            return record

    def get_session(self, session_id: str) -> SessionRecord:
        with self._lock:
            return self._session(session_id).snapshot()

    def list_sessions(self, owner: str | None = None) -> SessionListing:
        with self._lock:
            self._forget_expired()
            records = [session.snapshot() for session in self._sessions.values()]
        records.sort(key=lambda record: (record.created_s, record.session_id))
        return SessionListing(
            sessions=tuple(one for one in records if owner is None or one.owner == owner),
            unreadable=(),
        )

    def delete_session(self, session_id: str) -> bool:
        with self._lock:
            self._forget_expired()
            session = self._sessions.pop(session_id, None)
            if session is None:
                return False
            session.news.notify_all()
            return True

    def reveal_source(self, session_id: str) -> str:
        with self._lock:
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
        with self._lock:
            session = self._session(session_id, writer)
            state = session.record.state
            if state not in allowed:
                raise problems.wrong_state(session_id, state, f"become {to}", allowed)
            session.update(state=to, reason=problems.short_reason(reason), updated_s=time.time())
            session.news.notify_all()
            return session.snapshot()

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
        with self._lock:
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
        def look(session: MemorySession) -> tuple[SessionRecord, bool]:
            return session.snapshot(), session.record.state in states

        return self._wait(session_id, look, timeout_s)

    # Which runtime serves a session, which worker writes for it

    def claim_session(self, holder: str, lease_s: float, timeout_s: float = 0.0) -> str | None:
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while True:
                self._forget_expired()
                now, next_look = time.monotonic(), deadline
                for session_id, session in self._sessions.items():
                    if session.record.state.is_over:
                        continue
                    if session.holder is None or now - session.claimed_at >= lease_s:
                        session.holder, session.claimed_at, session.lease_s = holder, now, lease_s
                        return session_id
                    next_look = min(next_look, session.claimed_at + lease_s)
                if now >= deadline:
                    return None
                # Nobody notifies when a claim runs out.
                self._work.wait(next_look - now)

    def renew_claim(self, session_id: str, holder: str) -> bool:
        with self._lock:
            session = self._session(session_id)
            if session.holder != holder or session.record.state.is_over:
                return False
            session.claimed_at = time.monotonic()
            return True

    def release_claim(self, session_id: str, holder: str) -> bool:
        with self._lock:
            is_released = self._session(session_id).release_claim(holder)
            self._work.notify_all()
            return is_released

    def get_claim(self, session_id: str) -> Claim | None:
        with self._lock:
            session = self._session(session_id)
            if session.holder is None or session.record.state.is_over:
                return None
            silent_s = time.monotonic() - session.claimed_at
            return Claim(holder=session.holder, silent_s=silent_s, lease_s=session.lease_s)

    def take_over(self, session_id: str) -> int:
        with self._lock:
            session = self._session(session_id)
            session.update(writer=session.record.writer + 1)
            return session.record.writer

    # The journal

    def append_entry(self, session_id: str, new: NewEntry) -> JournalEntry:
        text = to_json(dict(new) | {"payload": redact_json(new.payload)}, "payload")
        payload = json.loads(text)["payload"]
        with self._lock:
            session = self._session(session_id)
            entry = session.append(new.model_copy(update={"payload": payload}), len(text))
            session.news.notify_all()
            return entry

    def read_journal(
        self, session_id: str, after: int = 0, *, count: int = 100, timeout_s: float = 0.0
    ) -> JournalPage:
        problems.check_range(after, count)

        def look(session: MemorySession) -> tuple[JournalPage, bool]:
            newest = session.record.journal_sequence
            if after > newest:
                raise problems.cursor_ahead(session_id, "journal", after, newest)
            entries = tuple(session.journal[after : after + count])
            return JournalPage(entries=entries, cursor=after + len(entries)), bool(entries)

        return self._wait(session_id, look, timeout_s)

    def settle_entry(
        self,
        session_id: str,
        sequence: int,
        outcome: Outcome,
        *,
        checkpoint: Checkpoint | None = None,
        writer: int | None = None,
    ) -> Outcome:
        clean = as_stored(problems.clean_outcome(outcome), "outcome")
        with self._lock:
            session = self._session(session_id, writer)
            stored = session.settle(sequence, clean, checkpoint)
            session.news.notify_all()
            return stored

    def wait_settled(self, session_id: str, sequence: int, timeout_s: float) -> JournalEntry:
        def look(session: MemorySession) -> tuple[JournalEntry, bool]:
            entry = session.entry(sequence)
            return entry, entry.outcome is not None

        return self._wait(session_id, look, timeout_s)

    # The log of results

    def publish_result(
        self,
        session_id: str,
        entry: ResultEntry,
        *,
        counters: Counters | None = None,
        writer: int | None = None,
    ) -> int | None:
        content, num_bytes = json_copy(dict(entry), f"result of frame {entry.frame_index}")
        kept = entry.model_copy(update={"record": content["record"]})
        with self._lock:
            session = self._session(session_id, writer)
            sequence = session.publish(kept, num_bytes, counters)
            session.news.notify_all()
            return sequence

    def read_results(
        self, session_id: str, cursor: int = 0, *, count: int = 64, timeout_s: float = 0.0
    ) -> ResultPage:
        problems.check_range(cursor, count)

        def look(session: MemorySession) -> tuple[ResultPage, bool]:
            page = session.results_after(cursor, count)
            return page, page.cursor > cursor or page.is_end

        return self._wait(session_id, look, timeout_s)

    # Frames that a client pushes

    def push_frame(self, session_id: str, blob: bytes, pts_s: float | None = None) -> PushReceipt:
        time_s = problems.check_time(pts_s)
        with self._lock:
            session = self._session(session_id)
            receipt = session.push_frame(blob, time_s)
            session.news.notify_all()
            return receipt

    def finish_frames(self, session_id: str) -> None:
        with self._lock:
            session = self._session(session_id)
            session.finish_frames()
            session.news.notify_all()

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

        def look(session: MemorySession) -> tuple[PushedPage, bool]:
            page = session.take_frames(after, oldest, count)
            return page, bool(page.frames) or page.is_end

        return self._wait(session_id, look, timeout_s)

    # Checkpoints

    def save_checkpoint(
        self, session_id: str, checkpoint: Checkpoint, *, writer: int | None = None
    ) -> bool:
        with self._lock:
            return self._session(session_id, writer).save(checkpoint)

    def load_checkpoint(self, session_id: str) -> Checkpoint | None:
        with self._lock:
            return self._session(session_id).checkpoint

    # What they have in common

    def _session(self, session_id: str, writer: int | None = None) -> MemorySession:
        """The session; this counts as use."""
        self._forget_expired()
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionNotFoundError.of(session_id)
        if writer is not None and writer != session.record.writer:
            raise problems.superseded(session_id)
        session.touch()
        return session

    def _forget_expired(self) -> None:
        now = time.time()
        for name in [name for name, one in self._sessions.items() if one.has_expired(now)]:
            del self._sessions[name]

    def _check_room(self, owner: str) -> None:
        open_ones = [s.record for s in self._sessions.values() if not s.record.state.is_over]
        owned = sum(record.owner == owner for record in open_ones)
        for name, count in (("max_sessions", len(open_ones)), ("max_sessions_per_owner", owned)):
            most = getattr(self._limits, name)
            if count >= most:
                raise problems.too_many_sessions(owner, name, most)

    def _wait(
        self, session_id: str, look: Callable[[MemorySession], tuple[T, bool]], timeout_s: float
    ) -> T:
        """Look at a session at every change, until ``look`` says that it is done or time is up. A
        session that somebody waits for does not expire."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            session = self._session(session_id)
            session.num_waiting += 1
            try:
                while True:
                    value, done = look(session)
                    left = deadline - time.monotonic()
                    if done or left <= 0:
                        return value
                    session.news.wait(left)
                    if self._sessions.get(session_id) is not session:
                        raise SessionNotFoundError.of(session_id)
            finally:
                session.num_waiting -= 1
                session.touch()
