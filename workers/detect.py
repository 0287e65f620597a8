"""The interface of detection, and the actor that detects."""

from __future__ import annotations

import os
from typing import Any, Protocol

from maskstream.core.error_text import error_text
from maskstream.core.errors import ImageError, PromptError
from maskstream.detector.frames import DetectedFrame
from maskstream.workers.local_detect import BatchLimits, LocalDetectionService
from maskstream.workers.memory import keep_freed_memory
from maskstream.workers.messages import DetectRequest, Image, PackedAnswer, Refusal
from maskstream.workers.models import ModelSpec


class PendingDetection(Protocol):
    """A detected frame that is not there yet."""

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        """Wait until the detection or ``other`` is ready, or the time is up.

        Args:
            other: a Ray reference that ends the wait too, or None.

        Returns:
            Whether the detection is ready.
        """

    def result(self) -> DetectedFrame:
        """Wait for the detection and return it.

        Raises:
            PromptError, ImageError: the request cannot be served.
        """

    def drop(self) -> None:
        """Say that nobody will ask for the result."""


class DetectionService(Protocol):
    """Detects in frames."""

    def submit(self, request: DetectRequest, image: Any) -> PendingDetection:
        """Start the detection of a frame.

        Args:
            image: (H, W, 3) uint8 RGB, or a Ray reference to it.
        """

    def check_text(self, session_id: str, text: str) -> None:
        """Encode a text ahead of its first frame.

        Raises:
            PromptError: the text is empty or too long.
        """


class DetectWorker:
    """The actor that detects, for many sessions.

    It holds no state of a session. When it dies, its frames are sent to another detect worker, or
    to this one after its restart.

    Threads: Ray's, one for each waiting call; and a few that work on batches of all sessions.
    """

    def __init__(self, model: ModelSpec, limits: BatchLimits) -> None:
        keep_freed_memory()
        self._local = LocalDetectionService(model.load_detector(), limits)

    def pid(self) -> int:
        return os.getpid()

    def detect(self, request: DetectRequest, image: Image) -> PackedAnswer | Refusal:
        try:
            return PackedAnswer.of(self._local.submit(request, image).result())
        except (PromptError, ImageError) as error:
            return Refusal(error_text(error))

    def check_text(self, session_id: str, text: str) -> Refusal | None:
        try:
            self._local.check_text(session_id, text)
        except PromptError as error:
            return Refusal(error_text(error))
        return None

    def stats(self) -> dict[str, int]:
        batcher = self._local.batcher
        return {"num_batches": batcher.num_batches, "num_items": batcher.num_items}
