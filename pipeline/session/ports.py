"""The interfaces of the decoder and the detector that a session works with.

:mod:`maskstream.pipeline.local` implements them with threads of this process,
:mod:`maskstream.pipeline.runtime` with Ray actors.
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
        stamp: the frame's stamp, with the session's index and epoch.
        image: (H, W, 3) uint8 RGB, or a reference to it that :class:`Detection` can resolve.
    """

    stamp: FrameStamp
    image: Any


class DecoderDiedError(Exception):
    """The decoder of a session has died. The session starts another one."""


class PendingNote(Protocol):
    """The next note of a decoder, before it has come."""

    @property
    def handle(self) -> Any:
        """An object that :meth:`PendingDetection.wait` can wait for too."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until the note comes or the time is up; returns whether it has come."""

    def result(self) -> tuple[FrameNote, Any]:
        """Wait for the note; returns it with the picture, or a reference to the picture.

        Raises:
            DecoderDiedError: the decoder died before it gave the note.
        """


class Decoder(Protocol):
    """Reads one source. Calls are answered one after another.

    All methods but ``close`` raise DecoderDiedError if the decoder has died.
    """

    def begin(self, start: int, *, reverse: bool) -> None:
        """Go to a frame, and return when that is done; see ``Feed.begin``."""

    def next(self, timeout_s: float) -> PendingNote:
        """Ask for the next frame without waiting for it.

        Args:
            timeout_s: how long the decoder waits for a frame before it answers that none has come.
        """

    def read(self, index: int) -> tuple[FrameNote, Any]:
        """Wait for one frame, by its index."""

    def look(self) -> FrameNote:
        """The current frame counts; see ``Feed.look``."""

    def note_done(self, index: int) -> None:
        """Allow the feed to forget frames up to this index."""

    def check(self) -> None:
        """Kill the decoder if it hangs. Called while the session waits for a frame."""

    def close(self) -> None:
        """Release the source. Notes that were asked for are dropped."""


class PendingDetection(Protocol):
    """A detected frame that is not there yet."""

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        """Wait until the detection or ``other`` is ready, or the time is up.

        Args:
            other: the handle of a :class:`PendingNote`, or None.

        Returns:
            Whether the detection is ready.
        """

    def result(self) -> DetectedFrame:
        """Wait for the detection and return it.

        Raises:
            PromptError, ImageError: the frame or the prompts cannot be used.
        """

    def drop(self) -> None:
        """Say that nobody will ask for the result."""


class Detection(Protocol):
    """Detects in one session's frames."""

    def check_text(self, text: str) -> None:
        """Encode a text ahead of its first frame.

        Raises:
            PromptError: the text is empty or too long.
        """

    def submit(
        self, frame: Arrival, concepts: list[Concept], shown: Exemplar | None = None
    ) -> PendingDetection:
        """Start the detection of a frame.

        Args:
            frame: the frame.
            concepts: what to find in it.
            shown: an exemplar on this frame to encode, or None.
        """


class SessionTools(Protocol):
    """The model that sessions share."""

    def new_tracking(self, latency: Latency) -> SessionTracking:
        """Make the empty tracking state of one session."""

    def new_detection(self, session_id: str, score_threshold: float | None) -> Detection:
        """Make the detection of one session.

        Args:
            session_id: sessions take turns.
            score_threshold: least joint score of a detection; None takes the model's own.
        """
