"""Detection: stateless, in batches over sessions, in this process or in actors."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import ray
import torch

import core.errors
from core.errors import ImageError, MaskstreamError, PromptError
from detector.frames import Concept, FrameDetector
from workers.batcher import FairBatcher
from workers.messages import (
    ConceptList,
    DetectAnswer,
    DetectRequest,
    Image,
    PackedAnswer,
    Refusal,
    unpack,
)
from workers.models import ModelSpec

_LISTS_REMEMBERED = 256

# A frame with what to do with it, or a text to be checked.
_Item = tuple[DetectRequest, Image] | str


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How frames of several sessions are gathered.

    Attributes:
        max_batch: frames in one batch.
        max_wait_ms: how long an incomplete batch waits for more.
    """

    max_batch: int = 4
    max_wait_ms: float = 0.0


class Pending(Protocol):
    """An answer that is on its way."""

    def result(self) -> DetectAnswer:
        """Wait for it.

        Raises:
            PromptError, ImageError: the request cannot be served.
        """


class Detecting(Protocol):
    """Where frames go to be detected in."""

    def submit(self, request: DetectRequest, image: Any) -> Pending:
        """Hand in a frame.

        Args:
            image: (H, W, 3) uint8, or Ray's reference to it.
        """

    def check_text(self, session_id: str, text: str) -> None:
        """Encode a text, so that it is at hand later.

        Raises:
            PromptError: it is empty or too long.
        """


class LocalDetecting:
    """Detection in this process, on the device that the tracker runs on: nothing is copied.

    Args:
        detector: used by the batching thread only.
    """

    def __init__(self, detector: FrameDetector, limits: BatchLimits) -> None:
        self._detector = detector
        self._lists: OrderedDict[str, list[Concept]] = OrderedDict()
        self.batcher: FairBatcher[_Item, Any] = FairBatcher(
            self._work,
            max_batch=limits.max_batch,
            max_wait_s=limits.max_wait_ms / 1000,
            name="detect",
        )

    def submit(self, request: DetectRequest, image: Any) -> Future[DetectAnswer]:
        """See ``Detecting``."""
        picture = ray.get(image) if isinstance(image, ray.ObjectRef) else image
        return self.batcher.submit(request.session_id, (request, picture))

    def check_text(self, session_id: str, text: str) -> None:
        """See ``Detecting``."""
        self.batcher.submit(session_id, text).result()

    def close(self) -> None:
        """End the thread."""
        self.batcher.close()

    def _work(self, items: Sequence[_Item]) -> list[DetectAnswer | None]:
        for item in items:
            if isinstance(item, str):
                self._detector.check_text(item)
        frames = [item for item in items if not isinstance(item, str)]
        answers = iter(self._answers(frames) if frames else [])
        return [None if isinstance(item, str) else next(answers) for item in items]

    def _answers(self, frames: Sequence[tuple[DetectRequest, Image]]) -> list[DetectAnswer]:
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
            answers.append(DetectAnswer(features.tracker_features(row), detections, exemplar))
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


class DetectWorker:
    """The actor. Holds no session: it may die at any time, and its calls are then made again.

    Threads: Ray gives every waiting call one; one more does the work, for all of them in batches.
    """

    def __init__(self, model: ModelSpec, limits: BatchLimits) -> None:
        self._local = LocalDetecting(model.load_detector(), limits)

    def pid(self) -> int:
        return os.getpid()

    def detect(self, request: DetectRequest, image: Image) -> PackedAnswer | Refusal:
        try:
            return PackedAnswer.of(self._local.submit(request, image).result())
        except (PromptError, ImageError) as error:
            return Refusal(type(error).__name__, str(error))

    def check_text(self, session_id: str, text: str) -> Refusal | None:
        try:
            self._local.check_text(session_id, text)
        except PromptError as error:
            return Refusal(type(error).__name__, str(error))
        return None

    def stats(self) -> dict[str, int]:
        batcher = self._local.batcher
        return {"num_batches": batcher.num_batches, "num_items": batcher.num_items}


class _RemotePending:
    def __init__(self, pool: RemoteDetecting, worker: int, answer: Any) -> None:
        self._pool = pool
        self._worker = worker
        self._answer = answer

    def result(self) -> DetectAnswer:
        try:
            answer = ray.get(self._answer)
        finally:
            self._pool.note_done(self._worker)
        if isinstance(answer, Refusal):
            raise refused(answer)
        unpacked: DetectAnswer = answer.unpack(self._pool.device)
        return unpacked


class RemoteDetecting:
    """A pool of ``DetectWorker`` actors, shared by the sessions of this process.

    Ray restarts a worker that has died and makes its calls again; a call that has killed several
    in a row fails with Ray's error.

    Args:
        workers: their handles.
        device: where answers are needed.
    """

    def __init__(self, workers: Sequence[Any], device: torch.device) -> None:
        self._workers = list(workers)
        self._num_open = [0] * len(self._workers)
        self._lock = threading.Lock()
        self.device = device

    def submit(self, request: DetectRequest, image: Any) -> _RemotePending:
        """See ``Detecting``. The worker with the fewest frames gets it."""
        with self._lock:
            worker = self._num_open.index(min(self._num_open))
            self._num_open[worker] += 1
        return _RemotePending(self, worker, self._workers[worker].detect.remote(request, image))

    def check_text(self, session_id: str, text: str) -> None:
        """See ``Detecting``. Each worker remembers its own texts; the others learn it later."""
        answer = ray.get(self._workers[0].check_text.remote(session_id, text))
        if isinstance(answer, Refusal):
            raise refused(answer)

    def note_done(self, worker: int) -> None:
        """One frame of a worker is answered, or lost."""
        with self._lock:
            self._num_open[worker] -= 1


def refused(refusal: Refusal) -> MaskstreamError:
    """The error that a worker has told of."""
    kind = getattr(core.errors, refusal.kind)
    error: MaskstreamError = kind(refusal.message)
    return error
