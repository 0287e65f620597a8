"""Detection in this process: stateless, in batches over sessions."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

import ray
import torch

from maskstream.detector.frames import Concept, DetectedFrame, FrameDetector
from maskstream.workers.batcher import FairBatcher
from maskstream.workers.messages import ConceptList, DetectRequest, Image, unpack

_LISTS_REMEMBERED = 256
_BATCH_ON_GPU = 4
_MOST_THREADS = 4  # more would wait for Python's lock

# A frame with what to do with it, or a text to be checked.
_Item = tuple[DetectRequest, Image] | str


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How frames of several sessions are gathered.

    Attributes:
        max_batch: frames in one batch; None: four on a GPU, and one on the CPU, where the first of
            them would only wait for the last.
        max_wait_ms: how long an incomplete batch waits for more.
        num_threads: batches in work at once; None: one on a GPU, and one for each core, up to
            four, on the CPU.
    """

    max_batch: int | None = None
    max_wait_ms: float = 0.0
    num_threads: int | None = None

    def batch_on(self, device: torch.device) -> int:
        """Frames in one batch."""
        if self.max_batch is not None:
            return self.max_batch
        return 1 if device.type == "cpu" else _BATCH_ON_GPU

    def threads_on(self, device: torch.device) -> int:
        """Batches in work at once."""
        if self.num_threads is not None:
            return self.num_threads
        if device.type != "cpu":
            return 1
        return min(_MOST_THREADS, os.cpu_count() or 1)


class LocalPendingDetection:
    """What another thread of this process works on."""

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


class LocalDetectionService:
    """Detection on the device that the tracker runs on: nothing is copied.

    Threads: one for each batch that may be in work at once, with a detector of its own. They
    share the weights.

    Args:
        detector: the first thread's.
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
        """See ``DetectionService``. Each thread remembers its own texts; the others learn it later."""
        self.batcher.submit(session_id, text).result()

    def close(self) -> None:
        """End the threads."""
        self.batcher.close()


class _BatchWorker:
    """What one thread works with."""

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
        """The same objects for the same list, so that their batch is made once."""
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
