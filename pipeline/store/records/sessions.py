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

    ``draining`` can follow each of the first three, and ``failed`` each of the first four.
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
    """How much one session may hold.

    What exceeds a limit is refused; but the log of results and the pushed frames lose the oldest.

    Attributes:
        expire_after_s: the session is deleted when it has not been used for so long.
        max_prompts: how many are accepted between two resets.
        max_journal_entries: prompts and commands together, in the session's whole life.
        max_journal_bytes: likewise, as JSON.
        max_prompt_bytes: of one entry of the journal, as JSON.
        max_results: how many of the newest results the log keeps.
        max_result_age_s: how long it keeps them.
        max_result_bytes: of one result, as JSON.
        max_checkpoint_bytes: of a checkpoint's blob.
        max_waiting_frames: pushed frames that have not been taken yet.
        max_frame_bytes: of one pushed frame, encoded.
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
        source: with its credentials, if it has any; these are stored encrypted and never shown.
        options: JSON values, stored without credentials.
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
        has_credentials: whether the source has some, which ``SessionStore.reveal_source`` gives.
        reason: why the state changed last; why the session failed.
        created_s: by the store's clock, as all times here, in seconds since 1970.
        expires_s: when the session is deleted unless it is used before.
        epoch: of the source; increases with each reconnect.
        writer: the token of the worker that took the session over last; 0 when none has.
        num_prompts: how many were accepted since the last reset.
        journal_sequence: of the newest entry; 0 when there is none.
        settled_sequence: all entries up to this one have been applied or rejected.
        result_sequence: of the newest result; 0 when there is none.
        read_sequence: results up to this one were read: somebody has asked for those behind it.
        last_result: (epoch, step) of the newest result.
        stats: rates, latencies and faults, as JSON values that the runtime reports.
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
    read_sequence: Count
    last_result: tuple[int, int] | None
    stats: dict[str, Any] = Field(default_factory=dict)


class SessionListing(Record):
    """All sessions that could be read, and for each other one a sentence that says why not."""

    sessions: tuple[SessionRecord, ...]
    unreadable: tuple[str, ...]


class Claim(Record):
    """A runtime's claim on a session: the runtime serves it, as long as it renews the claim.

    Attributes:
        holder: the name of the runtime.
        silent_s: seconds since the claim was made or renewed last, by the store's clock.
        lease_s: a claim that is not renewed for so long has run out: another runtime may claim the
            session.
    """

    holder: str
    silent_s: Seconds
    lease_s: Seconds

    @property
    def has_run_out(self) -> bool:
        return self.silent_s >= self.lease_s
