"""One session of the memory store: its data, and what is done with them. The store locks."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from maskstream.pipeline.api.options import PUSHED_SOURCE
from maskstream.pipeline.store import problems
from maskstream.pipeline.store.codec import to_json
from maskstream.pipeline.store.records import (
    PROMPT_KINDS,
    Checkpoint,
    Counters,
    JournalEntry,
    NewEntry,
    Outcome,
    PushedFrame,
    PushedPage,
    PushReceipt,
    ResultEntry,
    ResultPage,
    SessionLimits,
    SessionRecord,
)


@dataclass(slots=True)
class MemorySession:
    """See :class:`maskstream.pipeline.store.base.SessionStore` for what the methods promise.

    Attributes:
        record: all but ``expires_s``, which changes with every use; ``snapshot`` has both.
        source: with its credentials.
        news: notified of every change but reports, claims and checkpoints.
        num_waiting: how many threads wait for news; meanwhile the session does not expire.
        requests: request id → sequence.
        results: sequence → time of publishing and result; the sequences have no gap.
        holder: the runtime that has claimed the session.
        claimed_at: when it claimed the session or renewed the claim last, monotonic time.
        lease_s: how long the claim holds from then on.
    """

    record: SessionRecord
    source: str = field(repr=False)
    news: threading.Condition
    expires_s: float
    num_waiting: int = 0
    journal: list[JournalEntry] = field(default_factory=list)
    journal_bytes: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    results: dict[int, tuple[float, ResultEntry]] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    holder: str | None = None
    claimed_at: float = 0.0
    lease_s: float = 0.0
    frames: deque[PushedFrame] = field(default_factory=deque)
    num_pushed: int = 0
    num_frames_dropped: int = 0
    taken_sequence: int = 0
    no_more_frames: bool = False

    @property
    def limits(self) -> SessionLimits:
        return self.record.limits

    def snapshot(self) -> SessionRecord:
        """The session as it is now."""
        return self.record.model_copy(update={"expires_s": self.expires_s})

    def touch(self) -> None:
        """Note that the session is used now."""
        self.expires_s = time.time() + self.limits.expire_after_s

    def release_claim(self, holder: str) -> bool:
        """Let a runtime's claim run out now; False: it has none."""
        if self.holder != holder or self.record.state.is_over:
            return False
        self.claimed_at = time.monotonic() - self.lease_s
        return True

    def has_expired(self, now_s: float) -> bool:
        return self.expires_s <= now_s and not self.num_waiting

    def update(self, **changes: object) -> None:
        """Change fields of the record."""
        self.record = self.record.model_copy(update=changes)

    def entry(self, sequence: int) -> JournalEntry:
        """One entry of the journal."""
        if not 1 <= sequence <= self.record.journal_sequence:
            raise problems.no_entry(self.record.session_id, sequence)
        return self.journal[sequence - 1]

    def append(self, new: NewEntry, num_bytes: int) -> JournalEntry:
        """Accept an entry that takes so many bytes as JSON."""
        known = self.requests.get(new.request_id)
        if known is not None:
            return self.journal[known - 1]
        record = self.record
        if not record.state.takes_prompts:
            raise problems.wrong_state(
                record.session_id, record.state, "take prompts", problems.TAKE_PROMPTS
            )
        is_prompt = new.kind in PROMPT_KINDS
        sequence, prompts = record.journal_sequence + 1, record.num_prompts + is_prompt
        self._check("max_prompt_bytes", num_bytes)
        if is_prompt:
            self._check("max_prompts", prompts)
        self._check("max_journal_entries", sequence)
        self._check("max_journal_bytes", self.journal_bytes + num_bytes)
        now = time.time()
        entry = JournalEntry(**dict(new), sequence=sequence, accepted_s=now)
        self.journal.append(entry)
        self.journal_bytes += num_bytes
        self.requests[new.request_id] = sequence
        prompts = 0 if new.kind == "reset" else prompts
        self.update(journal_sequence=sequence, num_prompts=prompts, updated_s=now)
        return entry

    def settle(self, sequence: int, outcome: Outcome, checkpoint: Checkpoint | None) -> Outcome:
        entry = self.entry(sequence)
        if entry.outcome is not None:
            return entry.outcome
        next_one = self.record.settled_sequence + 1
        if sequence > next_one:
            raise problems.not_settled_yet(self.record.session_id, sequence, str(next_one))
        if checkpoint is not None:
            self.save(checkpoint, settled=sequence)
        self.journal[sequence - 1] = entry.model_copy(update={"outcome": outcome})
        self.update(settled_sequence=sequence, updated_s=time.time())
        return outcome

    def publish(self, entry: ResultEntry, num_bytes: int, counters: Counters | None) -> int | None:
        """Append a result that takes so many bytes as JSON, or fewer."""
        record, limits, log = self.record, self.limits, self.results
        if record.last_result is not None and entry.place <= record.last_result:
            return None
        if record.state.is_over:
            raise problems.wrong_state(record.session_id, record.state, "take results", ())
        if num_bytes > limits.max_result_bytes:
            self._check("max_result_bytes", len(to_json(entry, "result")))
        now, sequence = time.time(), record.result_sequence + 1
        log[sequence] = now, entry
        oldest = sequence + 1 - len(log)
        while len(log) > limits.max_results or log[oldest][0] < now - limits.max_result_age_s:
            del log[oldest]
            oldest += 1
        news = {"result_sequence": sequence, "last_result": entry.place}
        self.update(**news if counters is None else news | {"counters": counters})
        return sequence

    def results_after(self, cursor: int, count: int) -> ResultPage:
        newest, log = self.record.result_sequence, self.results
        if cursor > newest:
            raise problems.cursor_ahead(self.record.session_id, "log of results", cursor, newest)
        if cursor > self.record.read_sequence:
            self.update(read_sequence=cursor)
        first = max(cursor, newest - len(log)) + 1
        entries = tuple(log[number][1] for number in range(first, min(first + count, newest + 1)))
        end = first - 1 + len(entries)
        return ResultPage(
            entries=entries,
            cursor=end,
            num_missed=first - 1 - cursor,
            is_end=end == newest and self.record.state.is_over,
        )

    def save(self, checkpoint: Checkpoint, settled: int | None = None) -> bool:
        record = self.record
        settled = record.settled_sequence if settled is None else settled
        for name, claimed, actual in (
            ("journal_sequence", checkpoint.journal_sequence, settled),
            ("result_sequence", checkpoint.result_sequence, record.result_sequence),
        ):
            if claimed > actual:
                raise problems.checkpoint_ahead(record.session_id, name, claimed, actual)
        self._check("max_checkpoint_bytes", len(checkpoint.blob))
        old = self.checkpoint
        if old is not None and checkpoint.place < old.place:
            return False
        self.checkpoint = checkpoint
        return True

    def push_frame(self, blob: bytes, pts_s: float | None) -> PushReceipt:
        self._check_takes_frames()
        self._check("max_frame_bytes", len(blob))
        if self.no_more_frames:
            raise problems.no_more_frames(self.record.session_id)
        self.num_pushed += 1
        self.frames.append(
            PushedFrame(sequence=self.num_pushed, blob=blob, pts_s=pts_s, pushed_s=time.time())
        )
        waiting = [frame for frame in self.frames if frame.sequence > self.taken_sequence]
        if len(waiting) > self.limits.max_waiting_frames:
            del self.frames[-len(waiting)]
            del waiting[0]
            self.num_frames_dropped += 1
        return PushReceipt(
            sequence=self.num_pushed,
            num_waiting=len(waiting),
            num_dropped=self.num_frames_dropped,
        )

    def finish_frames(self) -> None:
        self._check_takes_frames()
        self.no_more_frames = True

    def take_frames(self, after: int, done: int, count: int) -> PushedPage:
        self._check_is_pushed()
        if after > self.num_pushed:
            raise problems.cursor_ahead(
                self.record.session_id, "pushed frames", after, self.num_pushed
            )
        while self.frames and self.frames[0].sequence <= done:
            self.frames.popleft()
        rows = [frame for frame in self.frames if frame.sequence > after][:count]
        if rows:
            self.taken_sequence = max(self.taken_sequence, rows[-1].sequence)
        return PushedPage(
            frames=tuple(rows),
            cursor=rows[-1].sequence if rows else after,
            num_dropped=self.num_frames_dropped,
            is_end=self.no_more_frames and len(rows) < count,
        )

    def _check_is_pushed(self) -> None:
        if self.record.source != PUSHED_SOURCE:
            raise problems.not_pushed(self.record.session_id)

    def _check_takes_frames(self) -> None:
        self._check_is_pushed()
        record = self.record
        if not record.state.takes_prompts:
            raise problems.wrong_state(
                record.session_id, record.state, "take frames", problems.TAKE_PROMPTS
            )

    def _check(self, name: str, value: int) -> None:
        most: int = getattr(self.limits, name)
        if value > most:
            raise problems.limit(self.record.session_id, name, most)
