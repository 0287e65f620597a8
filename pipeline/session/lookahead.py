"""Detects in frames ahead of the tracker."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from maskstream.core.frame_stamp import FrameStamp
from maskstream.detector.frames import Concept, DetectedFrame
from maskstream.pipeline.session.intake import Intake
from maskstream.pipeline.session.ports import Arrival, Detection, PendingDetection


@dataclass(frozen=True, slots=True)
class _InFlight:
    frame: Arrival
    detection: PendingDetection


class Lookahead:
    """Keeps the detector busy while the tracker works on earlier frames.

    Promises: frames come out in the order in which they went in, and there are never more than
    ``depth`` of them.

    Args:
        intake: gives the frames.
        detection: detects in them.
        depth: how many frames may be in detection, or detected and not yet tracked.
    """

    def __init__(self, intake: Intake, detection: Detection, depth: int) -> None:
        self._intake = intake
        self._detection = detection
        self._depth = depth
        self._frames: deque[_InFlight] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> FrameStamp | None:
        """Stamp of the frame that was submitted last, if it is still here."""
        return self._frames[-1].frame.stamp if self._frames else None

    @property
    def wants_more(self) -> bool:
        """Whether there is room, and the source has not ended or failed."""
        return len(self._frames) < self._depth and not self._intake.is_over

    def submit_next(self, concepts: list[Concept]) -> bool:
        """Send the next frame to detection; False if none has come yet."""
        if self._intake.peek(0.0) is None:
            return False
        frame = self._intake.take()
        self._frames.append(_InFlight(frame, self._detection.submit(frame, concepts)))
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until a frame comes or the oldest one is detected; returns whether that one is."""
        if self._frames:
            return self._frames[0].detection.wait(timeout_s, self._intake.pending_handle())
        self._intake.peek(timeout_s)
        return False

    def take(self) -> tuple[Arrival, DetectedFrame]:
        """Take the oldest frame, and wait for its detection.

        Raises:
            PromptError, ImageError: its picture or the prompts cannot be used.
        """
        oldest = self._frames.popleft()
        return oldest.frame, oldest.detection.result()

    def clear(self) -> None:
        """Forget all frames."""
        while self._frames:
            self._frames.popleft().detection.drop()
