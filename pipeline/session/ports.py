"""What a session needs of the place it runs in: something that decodes, something that detects.

In this process both are threads (:mod:`maskstream.pipeline.local`); on Ray they are actors
(:mod:`maskstream.pipeline.runtime`). Nothing here knows which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from maskstream.core.frame_stamp import FrameStamp
from maskstream.detector.frames import Concept, DetectedFrame
from maskstream.detector.prompts import Exemplar
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.session.feed import FrameNote
from maskstream.pipeline.video.tracking import SessionTracking


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that has come from the source.

    Attributes:
        stamp: with index and epoch as the session counts them.
        image: (H, W, 3) uint8 RGB, or the place's reference to it. Only detection looks at it.
    """

    stamp: FrameStamp
    image: Any


class DecoderDiedError(Exception):
    """The decoder of a session is gone; the session starts another."""


class PendingNote(Protocol):
    """What a decoder will say next."""

    @property
    def handle(self) -> Any:
        """For :meth:`PendingDetection.wait`, which can wait for this too."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until it is there or the time is up; whether it is there."""

    def result(self) -> tuple[FrameNote, Any]:
        """The note, and the picture or the place's reference to it. Waits.

        Raises:
            DecoderDiedError: it will never come.
        """


class Decoder(Protocol):
    """Reads one source, elsewhere. Calls are answered one after another.

    All methods but ``close`` raise DecoderDiedError when the decoder is gone.
    """

    def begin(self, start: int, *, reverse: bool) -> None:
        """Go to a frame, and return when it is done; see ``Feed.begin``."""

    def next(self, timeout_s: float) -> PendingNote:
        """Ask for the next frame, without waiting for it.

        Args:
            timeout_s: how long the decoder may wait before it says that there is none yet.
        """

    def read(self, index: int) -> tuple[FrameNote, Any]:
        """One frame by its index, waited for."""

    def look(self) -> FrameNote:
        """The account as it is now."""

    def note_done(self, index: int) -> None:
        """Frames up to this index will not be asked for again."""

    def check(self) -> None:
        """End the decoder if it hangs. Called while a frame is overdue."""

    def close(self) -> None:
        """Let go of the source. What was asked for is dropped."""


class PendingDetection(Protocol):
    """A detected frame that is on its way."""

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        """Sleep until it is there, or ``other`` is, or the time is up; whether it is there.

        Args:
            other: the handle of a :class:`PendingNote`, or None.
        """

    def result(self) -> DetectedFrame:
        """Wait for it.

        Raises:
            PromptError, ImageError: the frame or the prompts cannot be used.
        """


class Detection(Protocol):
    """Where one session's frames are detected in."""

    def check_text(self, text: str) -> None:
        """Encode a text, so that it is at hand later.

        Raises:
            PromptError: it is empty or too long.
        """

    def submit(
        self, frame: Arrival, concepts: list[Concept], shown: Exemplar | None = None
    ) -> PendingDetection:
        """Hand in a frame.

        Args:
            concepts: to be found in it.
            shown: an exemplar on this frame that is to be encoded.
        """


class SessionTools(Protocol):
    """The model, as sessions of one place share it."""

    def new_tracking(self, latency: Latency) -> SessionTracking:
        """An empty state for one session."""

    def new_detection(self, session_id: str, score_threshold: float | None) -> Detection:
        """One session's way to the detector.

        Args:
            score_threshold: detections above this joint score count; None takes the model's own.
        """
