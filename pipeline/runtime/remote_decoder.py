"""A decode worker of Ray as the decoder of a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from maskstream.pipeline.session.feed import FrameNote
from maskstream.pipeline.session.ports import DecoderDiedError
from maskstream.workers.faults import DEATHS
from maskstream.workers.heartbeat import Heartbeat


class RemoteDecoder:
    """See :class:`maskstream.pipeline.session.ports.Decoder`. Pictures stay in Ray's object store.

    Args:
        worker: handle of a ``DecodeWorker``.
        unresponsive_s: the worker is killed when it does not answer for so long.
    """

    def __init__(self, worker: Any, unresponsive_s: float) -> None:
        self._worker = worker
        self._heartbeat = Heartbeat(worker, "decode worker", unresponsive_s)

    def begin(self, start: int, *, reverse: bool) -> None:
        with _deaths_as_decoder_errors():
            # Ray's calls may overtake each other, so this one is waited for.
            ray.get(self._worker.begin.remote(start, reverse))

    def next(self, timeout_s: float) -> RemoteNote:
        note, image = self._worker.next.options(num_returns=2).remote(timeout_s)
        return RemoteNote(note, image, self._heartbeat)

    def read(self, index: int) -> tuple[FrameNote, Any]:
        note, image = self._worker.read.options(num_returns=2).remote(index)
        return RemoteNote(note, image, self._heartbeat).result()

    def look(self) -> FrameNote:
        with _deaths_as_decoder_errors():
            note: FrameNote = ray.get(self._worker.look.remote())
            return note

    def note_done(self, index: int) -> None:
        self._worker.note_done.remote(index)

    def check(self) -> None:
        self._heartbeat.check()  # a death shows in the note that is waited for

    def close(self) -> None:
        ray.kill(self._worker)


class RemoteNote:
    """See :class:`maskstream.pipeline.session.ports.PendingNote`.

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
