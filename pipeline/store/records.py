"""What the session store keeps, as checked records that travel as JSON."""

from __future__ import annotations

import hashlib
import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from maskstream.pipeline.api.fields import SessionId

Count = Annotated[int, Field(ge=0, lt=2**53)]
FrameIndex = Count
Seconds = Annotated[float, Field(strict=False, allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1, lt=2**40)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Record(BaseModel):
    """Base of all records: frozen, no unknown fields, no types taken for others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


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


EntryKind = Literal[
    "add_concept",
    "add_object",
    "remove_prompt",
    "remove_object",
    "reset",
    "pause",
    "resume",
    "cancel",
    "propagate",
]
MAX_STATS_BYTES = 8 * 2**10
PROMPT_KINDS = frozenset({"add_concept", "add_object"})


class NewEntry(Record):
    """What a client asks of a running session.

    Attributes:
        payload: JSON values; what they mean is up to the kind. Masks are run-length codes.
        client_id: who asks.
        request_id: the same when it is asked again because no answer came; it is then one entry.
    """

    kind: EntryKind
    payload: dict[str, Any] = Field(default_factory=dict, repr=False)
    client_id: Name = "anonymous"
    request_id: Name = Field(default_factory=lambda: uuid.uuid4().hex)


class Outcome(Record):
    """What became of a journal entry.

    Attributes:
        frame_index: the frame from which it holds; None when it was rejected.
        rejection: why it was rejected; None when it was applied.
        detail: JSON values, such as the prompt_id and obj_id that it got.
    """

    frame_index: FrameIndex | None = None
    rejection: Annotated[str, StringConstraints(min_length=1, max_length=4000)] | None = None
    detail: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.frame_index is None) == (self.rejection is None):
            raise ValueError("an outcome has either a frame_index or a rejection")
        return self


class JournalEntry(Record):
    """An accepted prompt or command, in its place in the journal.

    Attributes:
        sequence: 1, 2, 3… in the order in which the entries take effect.
        accepted_s: of the store's clock, seconds since 1970.
        outcome: None until it was applied or rejected.
    """

    sequence: Annotated[int, Field(ge=1)]
    kind: EntryKind
    payload: dict[str, Any]
    client_id: Name
    request_id: Name
    accepted_s: Seconds
    outcome: Outcome | None = None


class ResultEntry(Record):
    """One frame's result, or the end of a run.

    Attributes:
        frame_index: 0-based, of the decoder; goes down where a video is played backward. Of an
            end, that of the newest frame.
        epoch: of the source; in a session that its client drives, each run in one direction is
            an epoch.
        step: goes up with every entry of an epoch. Forward it is the frame index.
        kind: ``end`` closes a run.
        wall_s: when the frame was taken, seconds since 1970.
        gap_s: time of the source that is missing before this frame; 0 when it follows the last.
        record: ``FrameResult.to_record``; of an end, why it ended.
    """

    frame_index: FrameIndex
    epoch: Count = 0
    step: Count
    kind: Literal["frame", "end"] = "frame"
    wall_s: Seconds
    gap_s: Annotated[float, Field(strict=False, ge=0, allow_inf_nan=False)] = 0.0
    record: dict[str, Any]

    @property
    def place(self) -> tuple[int, int]:
        """(epoch, step): results are published in this order."""
        return self.epoch, self.step


class Checkpoint(Record):
    """The state from which a tracker is rebuilt.

    Attributes:
        blob: the tracker's; the store does not look into it.
        step: of the last frame that is in it, as results count.
        journal_sequence: entries up to this one are in it.
        result_sequence: of the newest result that it knows of.
    """

    blob: bytes = Field(repr=False)
    epoch: Count = 0
    step: Count
    journal_sequence: Count
    result_sequence: Count

    @property
    def place(self) -> tuple[int, int]:
        return self.epoch, self.step

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.blob).hexdigest()


class PushedFrame(Record):
    """A frame that a client has pushed.

    Attributes:
        sequence: 1, 2, 3… of all that were pushed to this session; one that is missing was
            dropped before it was taken. The frame's index is one less.
        blob: ``maskstream.pipeline.api.frame_codec`` opens it.
        pushed_s: of the store's clock, seconds since 1970.
    """

    sequence: Annotated[int, Field(ge=1)]
    blob: bytes = Field(repr=False)
    pts_s: Seconds | None
    pushed_s: Seconds


class PushReceipt(Record):
    """What became of a pushed frame.

    Attributes:
        sequence: the frame's; see ``PushedFrame``.
        num_waiting: frames that nobody has taken yet, this one included.
        num_dropped: frames of this session that had to make room before they were taken.
    """

    sequence: Annotated[int, Field(ge=1)]
    num_waiting: Count
    num_dropped: Count


class PushedPage(Record):
    """Some of the pushed frames.

    Attributes:
        frames: in order.
        cursor: reads on from the last one's end.
        num_dropped: as in ``PushReceipt``.
        is_end: there will be no more, and these are all there are.
    """

    frames: tuple[PushedFrame, ...]
    cursor: Count
    num_dropped: Count
    is_end: bool


class ServiceLimits(Record):
    """How many sessions may be open at once: those that are neither ended nor failed."""

    max_sessions: Positive = 32
    max_sessions_per_owner: Positive = 32


class JournalPage(Record):
    """A stretch of the journal; ``cursor`` reads on from its end."""

    entries: tuple[JournalEntry, ...]
    cursor: Count


class ResultPage(Record):
    """A stretch of the log of results.

    Attributes:
        entries: in order, none twice.
        cursor: reads on from its end.
        num_missed: results before ``cursor`` that this reader has missed since they were dropped.
        is_end: the session is over and there will be no more.
    """

    entries: tuple[ResultEntry, ...]
    cursor: Count
    num_missed: Count
    is_end: bool


class SessionListing(Record):
    """All sessions that could be read, and a sentence for each that could not."""

    sessions: tuple[SessionRecord, ...]
    unreadable: tuple[str, ...]
