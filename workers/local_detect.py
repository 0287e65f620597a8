"""Detection in this process: stateless, in batches of frames from several sessions."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

import ray
import torch

from maskstream.core.errors import ConfigError
from maskstream.detector.frames import Concept, DetectedFrame, FrameDetector
from maskstream.workers.batcher import FairBatcher
from maskstream.workers.messages import ConceptList, DetectRequest, Image, unpack

_LISTS_REMEMBERED = 256
_BATCH_ON_GPU = 4
_MOST_THREADS = 4  # more threads would only wait for the GIL

# A request with its frame, or a text to be checked.
_Item = tuple[DetectRequest, Image] | str


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How frames of several sessions are gathered into batches.

    Attributes:
        max_batch: largest number of frames in a batch. None: four on a GPU; one on the CPU, where a
            batch takes as long as its frames one by one.
        max_wait_ms: how long an incomplete batch waits for more frames, in milliseconds.
        num_threads: batches that are detected at the same time. None: one on a GPU; one for each
            core, up to four, on the CPU.

    Raises:
        ConfigError: a number is out of its range.
    """

    max_batch: int | None = None
    max_wait_ms: float = 0.0
    num_threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_batch", "num_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected 1 or more, or None")
        if not 0 <= self.max_wait_ms < float("inf"):
            raise ConfigError(f"max_wait_ms is {self.max_wait_ms}; expected 0 or more")

    def batch_on(self, device: torch.device) -> int:
        """Largest number of frames in a batch on this device."""
        if self.max_batch is not None:
            return self.max_batch
        return 1 if device.type == "cpu" else _BATCH_ON_GPU

    def threads_on(self, device: torch.device) -> int:
        """Batches that are detected at the same time on this device."""
        if self.num_threads is not None:
            return self.num_threads
        if device.type != "cpu":
            return 1
        return min(_MOST_THREADS, os.cpu_count() or 1)


class LocalPendingDetection:
    """A frame that another thread of this process detects in."""

    def __init__(self, answer: Future[DetectedFrame]) -> None:
        self._answer = answer

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        """See ``PendingDetection``."""
        futures = [self._answer] if other is None else [self._answer, other.future()]
        wait(futures, timeout_s, FIRST_COMPLETED)
        return self._answer.done()

    def result(self) -> DetectedFrame:
        """See ``PendingDetection``."""
        return self._answer.result()

    def drop(self) -> None:
        """See ``PendingDetection``. A frame that no thread has begun with is not detected in."""
        self._answer.cancel()


class LocalDetectionService:
    """Detects in this process, on the tracker's device, so that nothing is copied.

    Threads: ``BatchLimits.num_threads``, each with a detector of its own. The detectors share the
    weights.

    Args:
        detector: the detector of the first thread; those of the others are made from its model.
        limits: batch size and number of threads.
    """

    def __init__(self, detector: FrameDetector, limits: BatchLimits) -> None:
        num_more = limits.threads_on(detector.device) - 1
        detectors = [detector, *(FrameDetector(detector.model) for _ in range(num_more))]
        self.batcher: FairBatcher[_Item, Any] = FairBatcher(
            [_BatchWorker(one).work for one in detectors],
            max_batch=limits.batch_on(detector.device),
            max_wait_s=limits.max_wait_ms / 1000,
            name="detect",
        )

    def submit(self, request: DetectRequest, image: Any) -> LocalPendingDetection:
        """See ``DetectionService``."""
        picture = ray.get(image) if isinstance(image, ray.ObjectRef) else image
        return LocalPendingDetection(self.batcher.submit(request.session_id, (request, picture)))

    def check_text(self, session_id: str, text: str) -> None:
        """See ``DetectionService``. Warms the text cache of one thread only; each has its own."""
        self.batcher.submit(session_id, text).result()

    def close(self) -> None:
        """Cancel waiting requests and end the threads."""
        self.batcher.close()


class _BatchWorker:
    """Works on the batches of one thread."""

    def __init__(self, detector: FrameDetector) -> None:
        self._detector = detector
        self._lists: OrderedDict[str, list[Concept]] = OrderedDict()

    def work(self, items: Sequence[_Item]) -> list[DetectedFrame | None]:
        for item in items:
            if isinstance(item, str):
                self._detector.check_text(item)
        frames = [item for item in items if not isinstance(item, str)]
        answers = iter(self._answers(frames) if frames else [])
        return [None if isinstance(item, str) else next(answers) for item in items]

    def _answers(self, frames: Sequence[tuple[DetectRequest, Image]]) -> list[DetectedFrame]:
        detector = self._detector
        features = detector.encode([image for _, image in frames])
        found = detector.detect_each(
            features,
            [(self._concepts(request.concepts), request.rules) for request, _ in frames],
        )
        answers = []
        for row, ((request, image), detections) in enumerate(zip(frames, found, strict=True)):
            exemplar = None
            if request.shown is not None:
                alone = detector.encode([image]) if len(frames) > 1 else features
                exemplar = detector.encode_exemplar(alone, request.shown)
            answers.append(DetectedFrame(features.tracker_features(row), detections, exemplar))
        return answers

    def _concepts(self, wanted: ConceptList) -> list[Concept]:
        """Returns the same objects for the same list, so that the detector prepares them once."""
        known = self._lists.get(wanted.key)
        if known is None:
            device = self._detector.device
            known = [
                Concept(
                    data.prompt_id,
                    data.text,
                    None if data.exemplars is None else unpack(data.exemplars, device),
                )
                for data in wanted.concepts
            ]
            self._lists[wanted.key] = known
            if len(self._lists) > _LISTS_REMEMBERED:
                self._lists.popitem(last=False)
        self._lists.move_to_end(wanted.key)
        return known
