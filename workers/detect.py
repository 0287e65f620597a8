"""Detection as tracking asks for it, and the actors that do it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
import torch
from ray.exceptions import ActorDiedError, GetTimeoutError

import core.errors
from core.errors import ImageError, MaskstreamError, PromptError
from workers.faults import DEATHS
from workers.local_detect import BatchLimits, LocalDetecting
from workers.memory import keep_freed_memory
from workers.messages import DetectAnswer, DetectRequest, Image, PackedAnswer, Refusal
from workers.models import ModelSpec
from workers.pulse import ask_pid

_PING_S = 1.0


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
    def __init__(self, pool: RemoteDetecting, request: DetectRequest, image: Any) -> None:
        self._pool = pool
        self._frame = request, image
        self._send()

    def _send(self) -> None:
        self._worker = self._pool.choose()
        self._answer = self._worker.handle.detect.remote(*self._frame)

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        answers = [self._answer] if other is None else [self._answer, other]
        return self._answer in ray.wait(answers, num_returns=1, timeout=timeout_s)[0]

    def result(self) -> DetectAnswer:
        try:
            answer = self._get()
        except DEATHS:
            # Once only: the frame itself may be what its workers die of.
            if not self._pool.can_go_elsewhere(self._worker):
                raise
            self._send()
            answer = self._get()
        if isinstance(answer, Refusal):
            raise refused(answer)
        unpacked: DetectAnswer = answer.unpack(self._pool.device)
        return unpacked

    def _get(self) -> Any:
        try:
            return ray.get(self._answer)
        finally:
            self._pool.note_done(self._worker)


@dataclass(slots=True, eq=False)
class _Member:
    """A detect worker of a pool, and how many of the pool's frames it has."""

    handle: Any
    num_open: int = 0
    has_ended: bool = False


class RemoteDetecting:
    """A pool of ``DetectWorker`` actors, shared by the sessions of this process.

    Ray restarts a worker that has died and makes its calls again; a call that has killed several
    in a row fails with Ray's error. A worker that was ended for good gets no frames any more, while
    there are others.

    Args:
        workers: their handles.
        device: where answers are needed.
    """

    def __init__(self, workers: Sequence[Any], device: torch.device) -> None:
        self._members = [_Member(handle) for handle in workers]
        self._lock = threading.Lock()
        self.device = device

    def submit(self, request: DetectRequest, image: Any) -> _RemotePending:
        """See ``Detecting``. The worker with the fewest frames gets it."""
        return _RemotePending(self, request, image)

    def check_text(self, session_id: str, text: str) -> None:
        """See ``Detecting``. Each worker remembers its own texts; the others learn it later."""
        while True:
            worker = self.choose()
            try:
                answer = ray.get(worker.handle.check_text.remote(session_id, text))
                break
            except DEATHS:
                if not self.can_go_elsewhere(worker):
                    raise
            finally:
                self.note_done(worker)
        if isinstance(answer, Refusal):
            raise refused(answer)

    def choose(self) -> _Member:
        """Who gets the next frame; if all have ended, the first, whose error tells why."""
        with self._lock:
            living = [member for member in self._members if not member.has_ended]
            chosen = min(living or self._members[:1], key=lambda member: member.num_open)
            chosen.num_open += 1
            return chosen

    def note_done(self, worker: _Member) -> None:
        """One frame of a worker is answered, or lost."""
        with self._lock:
            worker.num_open -= 1

    def can_go_elsewhere(self, failed: _Member) -> bool:
        """Whether a worker that has died under a call is gone for good, and another is not."""
        try:
            ray.get(ask_pid(failed.handle), timeout=_PING_S)
        except ActorDiedError:
            failed.has_ended = True
        except (*DEATHS, GetTimeoutError):
            pass  # Ray is starting it again
        return failed.has_ended and not all(member.has_ended for member in self._members)


def refused(refusal: Refusal) -> MaskstreamError:
    """The error that a worker has told of."""
    kind = getattr(core.errors, refusal.kind)
    error: MaskstreamError = kind(refusal.message)
    return error
