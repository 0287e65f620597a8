"""Detection on a pool of detect workers, for the sessions of one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import ActorDiedError

from maskstream.core.error_text import error_from_text
from maskstream.detector.frames import DetectedFrame
from maskstream.workers.faults import DEATHS
from maskstream.workers.heartbeat import ask_pid
from maskstream.workers.messages import DetectRequest, Refusal

_PING_S = 1.0
_PAUSE_S = 0.1


class _Call:
    """A call to a worker of the pool. If the worker dies, the call is sent to another one.

    Args:
        pool: chooses the worker.
        ask: sends the call to a worker's handle and returns Ray's reference to the answer.
    """

    def __init__(self, pool: RemoteDetectionService, ask: Callable[[Any], Any]) -> None:
        self._pool = pool
        self._ask = ask
        self._send(pool.choose())

    def _send(self, worker: _Member) -> None:
        self._worker = worker
        self.reference = self._ask(worker.handle)

    def answer(self) -> Any:
        """Wait for the answer and return it.

        Raises:
            PromptError, ImageError: the request cannot be served.
            One of ``DEATHS``: workers have died ``max_retries`` + 1 times over this call, or no
                worker is restarted any more.
        """
        num_retries = 0
        while True:
            try:
                answer = self._get()
                break
            except DEATHS:
                # The frame itself may be what kills the workers.
                if num_retries == self._pool.max_retries:
                    raise
                num_retries += 1
                self._send(self._pool.choose_living())
        if isinstance(answer, Refusal):
            raise error_from_text(answer.text)
        return answer

    def drop(self) -> None:
        """Count the call as done, since nobody will ask for its answer."""
        self._pool.note_done(self._worker)

    def _get(self) -> Any:
        try:
            return ray.get(self.reference)
        finally:
            self._pool.note_done(self._worker)


class _RemotePendingDetection:
    def __init__(self, call: _Call, device: torch.device) -> None:
        self._call = call
        self._device = device

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        own = self._call.reference
        answers = [own] if other is None else [own, other]
        return own in ray.wait(answers, num_returns=1, timeout=timeout_s)[0]

    def result(self) -> DetectedFrame:
        unpacked: DetectedFrame = self._call.answer().unpack(self._device)
        return unpacked

    def drop(self) -> None:
        self._call.drop()


@dataclass(slots=True, eq=False)
class _Member:
    """A detect worker of a pool.

    Attributes:
        handle: Ray's handle of the actor.
        num_open: calls sent to it and not answered yet.
        end: the error that said that Ray does not restart it any more, or None.
    """

    handle: Any
    num_open: int = 0
    end: ActorDiedError | None = None


class RemoteDetectionService:
    """Detects on a pool of ``DetectWorker`` actors, shared by the sessions of this process.

    Promises: a frame whose worker dies is sent to the first worker that answers a ping: another
    one, or the same after its restart. Ray's own retries are not used: for some seconds Ray takes a
    lost node for one that will answer soon, and would spend all retries in that time.

    Args:
        workers: handles of the actors.
        device: device of the returned tensors.
        max_retries: how often a frame is sent again after a death.
    """

    def __init__(self, workers: Sequence[Any], device: torch.device, max_retries: int) -> None:
        self._members = [_Member(handle) for handle in workers]
        self._lock = threading.Lock()
        self._device = device
        self.max_retries = max_retries

    def submit(self, request: DetectRequest, image: Any) -> _RemotePendingDetection:
        """See ``DetectionService``. The worker with the fewest open calls gets the frame."""
        call = _Call(self, lambda handle: handle.detect.remote(request, image))
        return _RemotePendingDetection(call, self._device)

    def check_text(self, session_id: str, text: str) -> None:
        """See ``DetectionService``. Warms the text cache of one worker only; each has its own."""
        _Call(self, lambda handle: handle.check_text.remote(session_id, text)).answer()

    def choose(self) -> _Member:
        """Choose a worker for the next call. If all have ended, the first: its error says why."""
        with self._lock:
            living = [member for member in self._members if member.end is None]
            chosen = min(living or self._members[:1], key=lambda member: member.num_open)
            chosen.num_open += 1
            return chosen

    def choose_living(self) -> _Member:
        """Choose a worker after a death: ping all and wait for the first that answers.

        Raises:
            ActorDiedError: no worker is restarted any more.
        """
        asked: dict[Any, _Member] = {}
        while True:
            waited_for = list(asked.values())
            asked |= {
                ask_pid(member.handle): member
                for member in self._members
                if member.end is None and member not in waited_for
            }
            if not asked:
                raise next(member.end for member in self._members if member.end is not None)
            answered, _ = ray.wait(list(asked), num_returns=1, timeout=_PING_S)
            for reference in answered:
                member = asked.pop(reference)
                if _answered(reference, member):
                    with self._lock:
                        member.num_open += 1
                    return member
                time.sleep(_PAUSE_S)

    def note_done(self, worker: _Member) -> None:
        """Count one open call of a worker less: it is answered, or lost."""
        with self._lock:
            worker.num_open -= 1


def _answered(reference: Any, member: _Member) -> bool:
    try:
        ray.get(reference)
    except ActorDiedError as error:
        member.end = error
    except DEATHS:  # Ray is restarting it
        pass
    else:
        return True
    return False
