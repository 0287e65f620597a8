"""The session store in Redis or Valkey."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from maskstream.core.errors import SessionNotFoundError, StoreError
from maskstream.core.redaction import redact_json, redact_url
from maskstream.pipeline.store import problems, stored
from maskstream.pipeline.store.codec import to_json
from maskstream.pipeline.store.connection import Connection
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE, Keys
from maskstream.pipeline.store.records import (
    PROMPT_KINDS,
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
from maskstream.pipeline.store.sealing import Sealer

_TAKE_PROMPTS = [state for state in SessionState if state.takes_prompts]
_OVER = [state for state in SessionState if state.is_over]


class RedisStore:
    """See :class:`maskstream.pipeline.store.base.SessionStore`.

    Args:
        url: see :class:`Connection`.
        secret_key: seals the credentials of sources; None: sources that have some are refused.
        timeout_s: for connecting, and for each answer.
        num_retries: of each command while the server is away.
        on_close: called once at the end.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        secret_key: bytes | None = None,
        timeout_s: float = 5.0,
        num_retries: int = 12,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._keys = Keys(namespace)
        self._sealer = Sealer(secret_key)
        self._on_close = on_close
        self._link = Connection(url, self._keys, timeout_s=timeout_s, num_retries=num_retries)
        self._run = self._link.run_in_session

    def __repr__(self) -> str:
        return f"RedisStore({self._link.shown!r}, namespace={self._keys.namespace!r})"

    @property
    def url(self) -> str | None:
        return self._link.url

    def ping(self) -> None:
        self._link.ping()

    def close(self) -> None:
        self._link.close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def set_service_limits(self, limits: ServiceLimits) -> None:
        self._link.set_fields(self._keys.limits, limits.model_dump())

    # Sessions

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
            _token(writer),
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
            _token(writer),
            _optional_json(counters),
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
        while True:
            answer = self._link.run("claim", "", holder, round(lease_s * 1000))
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

    def get_claim(self, session_id: str) -> Claim | None:
        _, holder, silent_ms, lease_ms = self._run("get_claim", session_id)
        return stored.claim(holder, silent_ms, lease_ms, self._keys.session(session_id))

    def take_over(self, session_id: str) -> int:
        return int(self._run("take_over", session_id)[1])

    # The journal

    def append_entry(self, session_id: str, new: NewEntry) -> JournalEntry:
        payload = redact_json(new.payload)
        content = {
            "kind": new.kind,
            "payload": payload,
            "client_id": new.client_id,
            "request_id": new.request_id,
        }
        text = to_json(content, "payload")
        answer = self._run(
            "append_entry",
            session_id,
            new.request_id,
            new.kind,
            int(new.kind in PROMPT_KINDS),
            text,
            *_TAKE_PROMPTS,
        )
        if answer[0] == "refused":
            raise problems.wrong_state(
                session_id, answer[1].decode(), "take prompts", _TAKE_PROMPTS
            )
        return self._entry(session_id, int(answer[1]))[0]

    def read_journal(
        self, session_id: str, after: int = 0, *, count: int = 100, timeout_s: float = 0.0
    ) -> JournalPage:
        problems.check_range(after, count)
        key = self._keys.journal(session_id)

        def look() -> tuple[JournalPage, bool, bytes]:
            _, rows, outcomes, newest, event = self._run("read_journal", session_id, after, count)
            if after > newest:
                raise problems.cursor_ahead(session_id, "journal", after, newest)
            entries = stored.readable(
                stored.journal_entries(rows, outcomes, key, self._keys.outcomes(session_id))
            )
            cursor = entries[-1].sequence if entries else after
            return JournalPage(entries=entries, cursor=cursor), bool(entries), event

        return self._link.wait(session_id, look, timeout_s)

    def settle_entry(
        self,
        session_id: str,
        sequence: int,
        outcome: Outcome,
        *,
        checkpoint: Checkpoint | None = None,
        writer: int | None = None,
    ) -> Outcome:
        clean = problems.clean_outcome(outcome)
        text = to_json(clean, "outcome")
        saved = [] if checkpoint is None else _arguments(checkpoint)
        answer = self._run("settle_entry", session_id, _token(writer), sequence, text, *saved)
        _check_not_ahead(session_id, answer)
        if answer[0] == "unknown":
            raise problems.no_entry(session_id, sequence)
        if answer[0] == "order":
            raise problems.not_settled_yet(session_id, sequence, answer[1].decode())
        return stored.outcome(answer[1], self._keys.outcomes(session_id), str(sequence))

    def wait_settled(self, session_id: str, sequence: int, timeout_s: float) -> JournalEntry:
        def look() -> tuple[JournalEntry, bool, bytes]:
            entry, event = self._entry(session_id, sequence)
            return entry, entry.outcome is not None, event

        return self._link.wait(session_id, look, timeout_s)

    # The log of results

    def publish_result(
        self,
        session_id: str,
        entry: ResultEntry,
        *,
        counters: Counters | None = None,
        writer: int | None = None,
    ) -> int | None:
        text = to_json(entry, f"result of frame {entry.frame_index}")
        answer = self._run(
            "publish_result",
            session_id,
            _token(writer),
            entry.epoch,
            entry.step,
            text,
            _optional_json(counters),
            *_OVER,
        )
        if answer[0] == "refused":
            raise problems.wrong_state(session_id, answer[1].decode(), "take results", ())
        return None if answer[0] == "duplicate" else int(answer[1])

    def read_results(
        self, session_id: str, cursor: int = 0, *, count: int = 64, timeout_s: float = 0.0
    ) -> ResultPage:
        problems.check_range(cursor, count)
        key = self._keys.results(session_id)

        def look() -> tuple[ResultPage, bool, bytes]:
            _, rows, state, newest, event = self._run("read_results", session_id, cursor, count)
            if cursor > newest:
                raise problems.cursor_ahead(session_id, "log of results", cursor, newest)
            numbered = stored.readable(stored.results(rows, key))
            # Without entries, what lay between the cursor and the newest one has been dropped.
            end = numbered[-1][0] if numbered else newest
            page = ResultPage(
                entries=tuple(entry for _, entry in numbered),
                cursor=end,
                num_missed=end - cursor - len(numbered),
                is_end=end == newest and stored.state(state, key).is_over,
            )
            return page, end > cursor or page.is_end, event

        return self._link.wait(session_id, look, timeout_s)

    # Frames that a client pushes

    def push_frame(self, session_id: str, blob: bytes, pts_s: float | None = None) -> PushReceipt:
        time_s = problems.check_time(pts_s)
        answer = self._push(session_id, 0, "" if time_s is None else repr(float(time_s)), blob)
        return PushReceipt(sequence=answer[1], num_waiting=answer[2], num_dropped=answer[3])

    def finish_frames(self, session_id: str) -> None:
        self._push(session_id, 1, "", b"")

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
        key = self._keys.frames(session_id)

        def look() -> tuple[PushedPage, bool, bytes]:
            answer = self._run("take_frames", session_id, after, oldest, count)
            if answer[0] == "not_pushed":
                raise problems.not_pushed(session_id)
            if answer[0] == "ahead":
                raise problems.cursor_ahead(session_id, "pushed frames", after, int(answer[1]))
            _, rows, dropped, is_end, event = answer
            frames = stored.readable(stored.frames(rows, key))
            page = PushedPage(
                frames=frames,
                cursor=frames[-1].sequence if frames else after,
                num_dropped=dropped,
                is_end=bool(is_end) and len(frames) == len(rows),
            )
            return page, bool(frames) or page.is_end, event

        return self._link.wait(session_id, look, timeout_s)

    def _push(self, session_id: str, is_end: int, pts: str, blob: bytes) -> list[Any]:
        answer = self._run("push_frame", session_id, is_end, pts, blob, *_TAKE_PROMPTS)
        if answer[0] == "not_pushed":
            raise problems.not_pushed(session_id)
        if answer[0] == "finished":
            raise problems.no_more_frames(session_id)
        if answer[0] == "refused":
            raise problems.wrong_state(session_id, answer[1].decode(), "take frames", _TAKE_PROMPTS)
        return answer

    # Checkpoints

    def save_checkpoint(
        self, session_id: str, checkpoint: Checkpoint, *, writer: int | None = None
    ) -> bool:
        answer = self._run("save_checkpoint", session_id, _token(writer), *_arguments(checkpoint))
        _check_not_ahead(session_id, answer)
        return bool(answer[1])

    def load_checkpoint(self, session_id: str) -> Checkpoint | None:
        _, flat = self._run("load_checkpoint", session_id)
        return stored.checkpoint(flat, self._keys.checkpoint(session_id))

    # What they have in common

    def _look_at(self, session_id: str, *, counts_as_use: bool) -> tuple[SessionRecord, bytes]:
        answer = self._run("get", session_id, int(counts_as_use))
        _, flat, left_ms, now_ms, event = answer
        expires_s = (now_ms + left_ms) / 1000
        return stored.session(flat, expires_s, self._keys.session(session_id)), event

    def _accept_work(self, session_id: str, entry: bytes, lease_s: float) -> bool:
        """Whether a session is there, not over, and this is its entry in the queue; its claim then
        holds for so long.
        """
        return bool(self._link.run("accept_work", session_id, entry, round(lease_s * 1000))[1])

    def _entry(self, session_id: str, sequence: int) -> tuple[JournalEntry, bytes]:
        if sequence < 1:
            raise problems.no_entry(session_id, sequence)
        _, rows, outcomes, _, event = self._run("read_journal", session_id, sequence - 1, 1)
        entries = stored.journal_entries(
            rows, outcomes, self._keys.journal(session_id), self._keys.outcomes(session_id)
        )
        for entry in entries:
            if entry.sequence == sequence:
                return entry, event
        raise problems.no_entry(session_id, sequence)


def _token(writer: int | None) -> str | int:
    return "" if writer is None else writer


def _arguments(checkpoint: Checkpoint) -> list[str | int | bytes]:
    meta = checkpoint.model_dump(exclude={"blob"}) | {"sha256": checkpoint.digest}
    return [
        checkpoint.epoch,
        checkpoint.step,
        checkpoint.journal_sequence,
        checkpoint.result_sequence,
        to_json(meta, "checkpoint"),
        checkpoint.blob,
    ]


def _check_not_ahead(session_id: str, answer: list[Any]) -> None:
    if answer[0] == "ahead":
        name, claimed, actual = answer[1].decode(), int(answer[2]), int(answer[3])
        raise problems.checkpoint_ahead(session_id, name, claimed, actual)


def _optional_json(counters: Counters | None) -> bytes:
    return b"" if counters is None else to_json(counters, "counters")
