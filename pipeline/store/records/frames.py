"""Frames that a client pushes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from maskstream.pipeline.store.records.base import Count, Record, Seconds


class PushedFrame(Record):
    """A frame that a client has pushed.

    Attributes:
        sequence: 1, 2, 3… among all frames that were pushed to this session; those that are missing
            were dropped before they were taken. The frame's index is one less.
        blob: the picture; ``maskstream.pipeline.api.frame_codec`` decodes it.
        pts_s: presentation time in seconds, where the client gave one.
        pushed_s: when it was pushed, by the store's clock, seconds since 1970.
    """

    sequence: Annotated[int, Field(ge=1)]
    blob: bytes = Field(repr=False)
    pts_s: Seconds | None
    pushed_s: Seconds


class PushReceipt(Record):
    """What became of a pushed frame.

    Attributes:
        sequence: of the frame; see ``PushedFrame``.
        num_waiting: frames that have not been taken yet, this one included.
        num_dropped: frames of this session that were dropped to make room.
    """

    sequence: Annotated[int, Field(ge=1)]
    num_waiting: Count
    num_dropped: Count


class PushedPage(Record):
    """A page of the pushed frames.

    Attributes:
        frames: in order.
        cursor: give it as ``after`` to take the frames that follow.
        num_dropped: as in ``PushReceipt``.
        is_end: these are the last frames.
    """

    frames: tuple[PushedFrame, ...]
    cursor: Count
    num_dropped: Count
    is_end: bool
