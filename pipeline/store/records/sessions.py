"""Sessions: what they are started with, what the store knows of them, and their limits."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from maskstream.pipeline.api.fields import SessionId
from maskstream.pipeline.store.records.base import Count, Name, Positive, Record, Seconds

MAX_STATS_BYTES = 8 * 2**10


class SessionState(StrEnum):
    """``starting → running ⇄ paused → draining → ended | failed``.

    A session that has not started yet can drain, and one can fail from anywhere.
    """

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    ENDED = "ended"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (SessionState.ENDED, SessionState.FAILED)

    @property
    def takes_prompts(self) -> bool:
        return self in (SessionState.STARTING, SessionState.RUNNING, SessionState.PAUSED)

    @property
    def predecessors(self) -> tuple[SessionState, ...]:
        """The states that this one can follow."""
        return _PREDECESSORS[self]


_OPEN = (SessionState.STARTING, SessionState.RUNNING, SessionState.PAUSED)
_PREDECESSORS = {
    SessionState.STARTING: (),
    SessionState.RUNNING: (SessionState.STARTING, SessionState.PAUSED),
    SessionState.PAUSED: (SessionState.RUNNING,),
    SessionState.DRAINING: _OPEN,
    SessionState.ENDED: (SessionState.DRAINING,),
    SessionState.FAILED: (*_OPEN, SessionState.DRAINING),
}


class ServiceLimits(Record):
    """How many sessions may be open at once: those that are neither ended nor failed."""

    max_sessions: Positive = 32
    max_sessions_per_owner: Positive = 32


class SessionLimits(Record):
    """What one session may hold; it is refused more, or its log loses the oldest.

    Attributes:
        expire_after_s: the session is forgotten when it has not been used for so long.
        max_prompts: since the last reset.
        max_journal_entries: prompts and commands together, for the session's life.
        max_journal_bytes: likewise.
        max_prompt_bytes: of one journal entry.
        max_results: the log keeps so many of the newest frames.
        max_result_age_s: and drops what was published longer ago.
        max_result_bytes: of one frame.
        max_checkpoint_bytes: of its blob.
        max_waiting_frames: pushed frames that nobody has taken; beyond it the oldest go.
        max_frame_bytes: of one pushed frame, as it is encoded.
    """

    expire_after_s: Annotated[float, Field(strict=False, gt=0, le=366 * 86400)] = 3600.0
    max_prompts: Positive = 1000
    max_journal_entries: Positive = 10_000
    max_journal_bytes: Positive = 16 * 2**20
    max_prompt_bytes: Positive = 512 * 2**10
    max_results: Positive = 10_000
    max_result_age_s: Annotated[float, Field(strict=False, gt=0, le=366 * 86400)] = 3600.0
    max_result_bytes: Positive = 8 * 2**20
    max_checkpoint_bytes: Positive = 32 * 2**20
    max_waiting_frames: Annotated[int, Field(ge=1, le=256)] = 8
    max_frame_bytes: Positive = 16 * 2**20


class Counters(Record):
    """Where the frames of a source went: decoded = processed + dropped by reason + in flight."""

    decoded: Count = 0
    processed: Count = 0
    dropped: dict[Name, Count] = Field(default_factory=dict, max_length=32)

    @property
    def num_dropped(self) -> int:
        return sum(self.dropped.values())

    @property
    def in_flight(self) -> int:
        return self.decoded - self.processed - self.num_dropped

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.in_flight < 0:
            raise ValueError(
                f"{self.processed} processed and {self.num_dropped} dropped frames are more than "
                f"the {self.decoded} decoded"
            )
        return self


class NewSession(Record):
    """What a session is started with.

    Attributes:
        source: with its credentials, if it has any; it is never stored or shown like this.
        options: JSON values; credentials in them are replaced, not kept.
    """

    source: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(repr=False)
    session_id: SessionId = Field(default_factory=lambda: uuid.uuid4().hex)
    owner: Name = "anonymous"
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    limits: SessionLimits = SessionLimits()


class SessionRecord(Record):
    """A session as the store knows it.

    Attributes:
        source: without credentials.
        has_credentials: whether ``SessionStore.reveal_source`` gives another text.
        reason: of the last change of state; why it failed.
        created_s: of the store's clock, like all times here, in seconds since 1970.
        expires_s: when it will be forgotten unless it is used.
        epoch: of the source, one more with each reconnect.
        writer: token of the newest worker that took the session over; 0 when none has.
        num_prompts: accepted since the last reset.
        journal_sequence: of the newest entry; 0 when there is none.
        settled_sequence: all entries up to this one have been applied or rejected.
        result_sequence: of the newest result; 0 when there is none.
        last_result: its (epoch, step).
        stats: JSON values that the runtime tells of the session: rates, latencies, faults.
    """

    session_id: SessionId
    owner: Name
    source: str
    has_credentials: bool
    options: dict[str, Any]
    limits: SessionLimits
    state: SessionState
    reason: str
    created_s: Seconds
    updated_s: Seconds
    expires_s: Seconds
    epoch: Count
    writer: Count
    counters: Counters
    num_prompts: Count
    journal_sequence: Count
    settled_sequence: Count
    result_sequence: Count
    last_result: tuple[int, int] | None
    stats: dict[str, Any] = Field(default_factory=dict)


class SessionListing(Record):
    """All sessions that could be read, and a sentence for each that could not."""

    sessions: tuple[SessionRecord, ...]
    unreadable: tuple[str, ...]


class Claim(Record):
    """Which runtime serves a session, and how long ago it last said so.

    Attributes:
        holder: names the runtime.
        silent_s: since it took the session or renewed its claim, by the store's clock.
        lease_s: after so long without a word another runtime may take the session.
    """

    holder: str
    silent_s: Seconds
    lease_s: Seconds

    @property
    def has_run_out(self) -> bool:
        return self.silent_s >= self.lease_s
