"""Detection as tracking asks for it, and the actors that do it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import ray
import torch

import core.errors
from core.errors import ImageError, MaskstreamError, PromptError
from workers.local_detect import BatchLimits, LocalDetecting
from workers.memory import keep_freed_memory
from workers.messages import DetectAnswer, DetectRequest, Image, PackedAnswer, Refusal
from workers.models import ModelSpec


class Pending(Protocol):
    """An answer that is on its way."""

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        """Sleep until it is there, or something else is; whether it is there.

        Args:
            other: Ray's reference to the something else, or None.
        """

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


class DetectWorker:
    """The actor. Holds no session: it may die at any time, and its calls are then made again.

    Threads: Ray gives every waiting call one; few more do the work, for all of them in batches.
    """

    def __init__(self, model: ModelSpec, limits: BatchLimits) -> None:
        keep_freed_memory()
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

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        answers = [self._answer] if other is None else [self._answer, other]
        return self._answer in ray.wait(answers, num_returns=1, timeout=timeout_s)[0]

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
