"""What decode workers say of their frames. Without torch, so that they are small and start fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class FrameNote:
    """What goes with a picture, or stands in place of one.

    Attributes:
        kind: ``frame``; ``none``: none came in time; ``end``: no more will come; ``failed``: the
            source has failed, ``message`` says how.
        index: 0-based, as this feed counts.
        pts_s: presentation time, or None.
        wall_s: when it was decoded, seconds since 1970.
        epoch: of the source.
        gap_s: seconds of the source that are missing before it.
        num_missed: frames that were decoded and dropped before it.
        size: (height, width) in pixels.
        decoded: frames decoded so far, by this feed.
        dropped: of these, by reason.
        message: why it failed.
        state: what the source is doing.
        last_fault: what went wrong last, without credentials.
    """

    kind: Literal["frame", "none", "end", "failed"]
    index: int = 0
    pts_s: float | None = None
    wall_s: float = 0.0
    epoch: int = 0
    gap_s: float = 0.0
    num_missed: int = 0
    size: tuple[int, int] = (0, 0)
    decoded: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    state: str = "running"
    last_fault: str = ""
