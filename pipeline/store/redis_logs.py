"""The Redis store's logs of a session: the journal, the results, and the newest checkpoint."""

from __future__ import annotations

from typing import Any

from maskstream.core.redaction import redact_json
from maskstream.pipeline.store import problems, stored
from maskstream.pipeline.store.codec import to_json
from maskstream.pipeline.store.records import (
    PROMPT_KINDS,
    Checkpoint,
    Counters,
    JournalEntry,
    JournalPage,
    NewEntry,
    Outcome,
    ResultEntry,
    ResultPage,
)
from maskstream.pipeline.store.redis_part import RedisPart, optional_json, token


class RedisLogs(RedisPart):
    """See :class:`maskstream.pipeline.store.base.SessionStore` for what the methods promise."""

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
            *problems.TAKE_PROMPTS,
        )
        if answer[0] == "refused":
            raise problems.wrong_state(
                session_id, answer[1].decode(), "take prompts", problems.TAKE_PROMPTS
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
        answer = self._run("settle_entry", session_id, token(writer), sequence, text, *saved)
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
            token(writer),
            entry.epoch,
            entry.step,
            text,
            optional_json(counters, "counters"),
            *problems.OVER,
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

    # Checkpoints

    def save_checkpoint(
        self, session_id: str, checkpoint: Checkpoint, *, writer: int | None = None
    ) -> bool:
        answer = self._run("save_checkpoint", session_id, token(writer), *_arguments(checkpoint))
        _check_not_ahead(session_id, answer)
        return bool(answer[1])

    def load_checkpoint(self, session_id: str) -> Checkpoint | None:
        _, flat = self._run("load_checkpoint", session_id)
        return stored.checkpoint(flat, self._keys.checkpoint(session_id))

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
