"""Frames in detection ahead of the tracker."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from maskstream.detector.frames import Concept
from maskstream.pipeline.session.detection import Detector
from maskstream.pipeline.session.intake import Arrival, Intake
from maskstream.workers.detect import Pending
from maskstream.workers.messages import DetectAnswer
from maskstream.workers.notes import FrameNote


@dataclass(frozen=True, slots=True)
class _InFlight:
    arrival: Arrival
    answer: Pending


class Lookahead:
    """Keeps the detect workers busy while the tracker works on earlier frames.

    Promises: frames come out in the order in which they went in; there are never more than
    ``depth``; whoever waits here sleeps until there is something to do.

    Args:
        depth: frames that may be in detection, or detected and not yet tracked.
    """

    def __init__(self, intake: Intake, detector: Detector, depth: int) -> None:
        self._intake = intake
        self._detector = detector
        self._depth = depth
        self._frames: deque[_InFlight] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> FrameNote | None:
        """Of the frame that was begun last, if it is still here."""
        return self._frames[-1].arrival.note if self._frames else None

    @property
    def wants_more(self) -> bool:
        """Whether there is room, and the source has not ended or failed."""
        return len(self._frames) < self._depth and not self._intake.is_over

    def begin_next(self, concepts: list[Concept]) -> bool:
        """Hand the next frame to the detect workers; False when none has come yet."""
        if self._intake.peek(0.0) is None:
            return False
        arrival = self._intake.take()
        self._frames.append(_InFlight(arrival, self._detector.submit(arrival.image, concepts)))
        return True

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a frame comes or the oldest one is detected; whether it is."""
        if self._frames:
            return self._frames[0].answer.wait(timeout_s, self._intake.coming())
        self._intake.peek(timeout_s)
        return False

    def take(self) -> tuple[Arrival, DetectAnswer]:
        """The oldest frame, waited for.

        Raises:
            PromptError, ImageError: it cannot be detected in.
        """
        flight = self._frames.popleft()
        return flight.arrival, flight.answer.result()

    def clear(self) -> None:
        """Forget them all."""
        self._frames.clear()
