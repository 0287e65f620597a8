"""Detection as tracking asks for it, and the actors that do it."""

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
    """An answer that is on its way."""

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        """Sleep until it is there, or something else is; whether it is there.

        Args:
            other: Ray's reference to the something else, or None.
        """

    def result(self) -> DetectedFrame:
        """Wait for it.

        Raises:
            PromptError, ImageError: the request cannot be served.
        """


class DetectionService(Protocol):
    """Where frames go to be detected in."""

    def submit(self, request: DetectRequest, image: Any) -> PendingDetection:
        """Hand in a frame.

        Args:
            image: (H, W, 3) uint8, or Ray's reference to it.
        """

    def check_text(self, session_id: str, text: str) -> None:
        """Encode a text, so that it is at hand later.

        Raises:
            PromptError: it is empty or too long.
        """


class DetectWorker:
    """The actor. Holds no session: it may die at any time, and its frames then go to another, or to
    its successor.

    Threads: Ray gives every waiting call one; few more do the work, for all of them in batches.
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
