"""Frames that a client pushes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from maskstream.pipeline.store.records.base import Count, Record, Seconds


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
