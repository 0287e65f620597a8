"""The interface of a session's source. Imports no torch, so that decode workers stay small."""

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
    """What a feed reports: a frame, or why there is none; and how many frames it has counted.

    Attributes:
        kind: ``frame``: a frame has come. ``none``: no frame came in time. ``end``: no more frames
            will come. ``failed``: the source has failed; see ``message``.
        stamp: stamp of the frame; the feed counts its frames from its own start.
        decoded: number of frames that this feed has decoded so far.
        dropped: number of these that it has dropped, by reason.
        message: error of a failed source, in the form of ``maskstream.core.error_text``.
        state: what the source is doing.
        last_fault: the source's newest fault, without credentials.
    """

    kind: Literal["frame", "none", "end", "failed"]
    stamp: FrameStamp = _NO_STAMP
    decoded: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    state: str = "running"
    last_fault: str = ""


Delivery = tuple[FrameNote, Image]
"""A note and its picture: (H, W, 3) uint8 RGB, or ``NO_IMAGE`` if the note is not a frame's."""


class Feed(Protocol):
    """A source of frames. One call at a time, except ``look`` and ``note_done``.

    A source that fails reports it with a note of kind ``failed`` and raises nothing. Only the feed
    of pushed frames raises StoreError, when the store is out of reach.
    """

    def begin(self, start: int, *, reverse: bool) -> None:
        """Make ``next`` continue at frame ``start``, if the source has a position."""

    def next(self, timeout_s: float) -> Delivery:
        """Wait for the next frame."""

    def read(self, index: int) -> Delivery:
        """Read one frame by its index; the position does not change."""

    def look(self) -> FrameNote:
        """The current frame counts, as a note of kind ``none``. May be called at any time."""

    def note_done(self, index: int) -> None:
        """Allow the feed to forget frames up to this index. May be called at any time."""

    def close(self) -> None:
        """Release the source."""
