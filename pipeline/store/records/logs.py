"""A session's journal of prompts and commands, its log of results, and its checkpoint."""

from __future__ import annotations

import hashlib
import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from maskstream.pipeline.store.records.base import Count, FrameIndex, Name, Record, Seconds

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


class JournalPage(Record):
    """A stretch of the journal; ``cursor`` reads on from its end."""

    entries: tuple[JournalEntry, ...]
    cursor: Count


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
