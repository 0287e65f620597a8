"""The decoder of a session when it is a Ray actor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from maskstream.pipeline.session.feed import FrameNote
from maskstream.pipeline.session.ports import DecoderDiedError
from maskstream.workers.faults import DEATHS
from maskstream.workers.heartbeat import Heartbeat

_CHECK_EVERY_S = 0.5


class RemoteDecoder:
    """Implements :class:`maskstream.pipeline.session.ports.Decoder` with a ``DecodeWorker``.

    Pictures stay in Ray's object store: the session gets references to them.

    Args:
        worker: handle of the ``DecodeWorker``.
        unresponsive_s: a worker that does not answer for this long is killed, in seconds.
    """

    def __init__(self, worker: Any, unresponsive_s: float) -> None:
        self._worker = worker
        self._heartbeat = Heartbeat(worker, "decode worker", unresponsive_s)

    def begin(self, start: int, *, reverse: bool) -> None:
        # Calls of a Ray actor may overtake each other, so wait for this one.
        self._answer(self._worker.begin.remote(start, reverse))

    def next(self, timeout_s: float) -> RemoteNote:
        note, image = self._worker.next.options(num_returns=2).remote(timeout_s)
        return RemoteNote(note, image, self._heartbeat)

    def read(self, index: int) -> tuple[FrameNote, Any]:
        note, image = self._worker.read.options(num_returns=2).remote(index)
        return self._answer(note), image

    def look(self) -> FrameNote:
        note: FrameNote = self._answer(self._worker.look.remote())
        return note

    def note_done(self, index: int) -> None:
        self._worker.note_done.remote(index)

    def check(self) -> None:
        self._heartbeat.check()  # a death comes as the error of the pending note

    def close(self) -> None:
        ray.kill(self._worker)

    def _answer(self, reference: Any) -> Any:
        """Wait for the answer to a call. A worker that hangs meanwhile is killed."""
        while not ray.wait([reference], timeout=_CHECK_EVERY_S)[0]:
            self._heartbeat.check()
        with _deaths_as_decoder_errors():
            answer = ray.get(reference)
        self._heartbeat.note_worked()
        return answer


class RemoteNote:
    """Implements :class:`maskstream.pipeline.session.ports.PendingNote`.

    Args:
        note: Ray's reference to the note.
        image: Ray's reference to the picture.
        heartbeat: of the worker.
    """

    def __init__(self, note: Any, image: Any, heartbeat: Heartbeat) -> None:
        self.handle = note
        self._image = image
        self._heartbeat = heartbeat

    def wait(self, timeout_s: float) -> bool:
        return bool(ray.wait([self.handle], timeout=timeout_s)[0])

    def result(self) -> tuple[FrameNote, Any]:
        with _deaths_as_decoder_errors():
            note: FrameNote = ray.get(self.handle)
        self._heartbeat.note_worked()
        return note, self._image


@contextmanager
def _deaths_as_decoder_errors() -> Iterator[None]:
    try:
        yield
    except DEATHS as error:
        raise DecoderDiedError(str(error)) from error
