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
        payload: JSON values, whose meaning depends on the kind. Masks are run-length codes.
        client_id: names the client.
        request_id: names the request. A client that got no answer repeats it under the same name,
            and the journal then holds one entry.
    """

    kind: EntryKind
    payload: dict[str, Any] = Field(default_factory=dict, repr=False)
    client_id: Name = "anonymous"
    request_id: Name = Field(default_factory=lambda: uuid.uuid4().hex)


class Outcome(Record):
    """What became of a journal entry: it was applied or rejected.

    Attributes:
        frame_index: the first frame on which it is in effect; None when it was rejected.
        rejection: why it was rejected; None when it was applied.
        detail: JSON values, such as the prompt_id and obj_id that it was given.
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
    """A prompt or command that was accepted, at its place in the journal.

    Attributes:
        sequence: 1, 2, 3… in the order in which the entries take effect.
        accepted_s: when it was accepted, by the store's clock, seconds since 1970.
        outcome: None until it is settled.
    """

    sequence: Annotated[int, Field(ge=1)]
    kind: EntryKind
    payload: dict[str, Any]
    client_id: Name
    request_id: Name
    accepted_s: Seconds
    outcome: Outcome | None = None


class JournalPage(Record):
    """A page of the journal; give ``cursor`` as ``after`` to read the entries that follow."""

    entries: tuple[JournalEntry, ...]
    cursor: Count


class ResultEntry(Record):
    """One frame's result, or the end of a run.

    Attributes:
        frame_index: 0-based, as the decoder counts; it decreases where a video is played backward.
            The end of a run has that of the newest frame.
        epoch: of the source. In a session that its client drives, each run in one direction is an
            epoch.
        step: increases with every entry of an epoch; forward it equals the frame index.
        kind: ``end`` closes a run.
        wall_s: when the frame was decoded, seconds since 1970.
        gap_s: seconds of the source that are missing before this frame; 0 when none are.
        record: a frame's ``FrameResult.to_record``; for an end, why the run ended.
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
    """A page of the log of results.

    Attributes:
        entries: in order, none twice.
        cursor: give it to read the results that follow.
        num_missed: results before ``cursor`` that were dropped from the log unread.
        is_end: the session is over, and these are its last results.
    """

    entries: tuple[ResultEntry, ...]
    cursor: Count
    num_missed: Count
    is_end: bool


class Checkpoint(Record):
    """The state from which a tracker is rebuilt.

    Attributes:
        blob: the tracker's state; the store does not look into it.
        epoch: with ``step``, the place of the first frame that is not included, as results count.
        step: see ``epoch``.
        journal_sequence: entries of the journal up to this one are included.
        result_sequence: results up to this one were published before.
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
