"""A source of frames as a session reads it. Without torch: processes that decode stay small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from maskstream.core.frame_stamp import FrameStamp

Image = NDArray[np.uint8]
NO_IMAGE: Image = np.zeros((0, 0, 3), np.uint8)
_NO_STAMP = FrameStamp(0)


@dataclass(frozen=True, slots=True)
class FrameNote:
    """What a feed says: that a frame is here, or why none is, and its account so far.

    Attributes:
        kind: ``frame``; ``none``: no frame came in time; ``end``: no more will come; ``failed``:
            the source has failed, and ``message`` says how.
        stamp: of the frame, as this feed counts.
        decoded: frames that this feed has decoded so far.
        dropped: how many of these it has dropped, by reason.
        message: of a failed source, an error as text.
        state: what the source is doing.
        last_fault: what went wrong last, without credentials.
    """

    kind: Literal["frame", "none", "end", "failed"]
    stamp: FrameStamp = _NO_STAMP
    decoded: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    state: str = "running"
    last_fault: str = ""


Delivery = tuple[FrameNote, Image]
"""A note and the picture that belongs to it; ``NO_IMAGE`` when the note is not of a frame."""


class Feed(Protocol):
    """A source of frames. One call at a time, except ``look`` and ``note_done``.

    A source that fails says so with a note of kind ``failed``; it raises nothing.
    """

    def begin(self, start: int, *, reverse: bool) -> None:
        """Go to frame ``start``, if the source has a position; ``next`` goes on from there."""

    def next(self, timeout_s: float) -> Delivery:
        """The next frame, waited for."""

    def read(self, index: int) -> Delivery:
        """One frame by its index. The position stays where it is."""

    def look(self) -> FrameNote:
        """The account as it is now, as a note of kind ``none``. May be called at any time."""

    def note_done(self, index: int) -> None:
        """Frames up to this index will not be asked for again. May be called at any time."""

    def close(self) -> None:
        """Let go of the source."""
