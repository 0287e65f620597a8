"""The actor that decodes one source."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Note = Any
"""What a feed reports about a frame. Workers pass it on without looking into it."""


class Feed(Protocol):
    """A source of frames; used by one call at a time.

    A source that fails reports it in a note and raises nothing.
    """

    def begin(self, start: int, *, reverse: bool) -> None:
        """Make ``next`` continue at frame ``start``, if the source has a position."""

    def next(self, timeout_s: float) -> tuple[Note, NDArray[np.uint8]]:
        """Wait for the next frame."""

    def read(self, index: int) -> tuple[Note, NDArray[np.uint8]]:
        """Read one frame by its index; the position does not change."""

    def look(self) -> Note:
        """The current frame counts, as a note. May be called at any time."""

    def note_done(self, index: int) -> None:
        """Allow the feed to forget the frames up to this index."""

    def close(self) -> None:
        """Release the source."""


FeedFactory = Callable[[Mapping[str, Any]], Feed]


class DecodeWorker:
    """The actor that reads one source.

    Promises: calls are answered one after another; only ``look`` and ``note_done`` do not wait
    for their turn. Calls that arrive before ``open`` has finished wait for it; if it
    failed, they raise its error. The caller owns what is returned, so a picture that was handed
    over outlives this actor.
    """

    def __init__(self) -> None:
        self._opened: Future[Feed] = Future()
        self._turn = threading.Lock()

    def prepare(self, factory: FeedFactory) -> None:
        """Do nothing: unpickling the argument has imported all that the factory needs."""

    def open(self, factory: FeedFactory, spec: Mapping[str, Any]) -> None:
        """Open the source, once.

        Args:
            factory: opens the source; importable.
            spec: plain data for the factory.
        """
        try:
            self._opened.set_result(factory(spec))
        except Exception as error:  # every call that needs the source raises it
            self._opened.set_exception(error)

    def pid(self) -> int:
        return os.getpid()

    def begin(self, start: int, reverse: bool) -> None:
        with self._turn:
            self._opened.result().begin(start, reverse=reverse)

    def next(self, timeout_s: float) -> tuple[Note, NDArray[np.uint8]]:
        with self._turn:
            return self._opened.result().next(timeout_s)

    def read(self, index: int) -> tuple[Note, NDArray[np.uint8]]:
        with self._turn:
            return self._opened.result().read(index)

    def look(self) -> Note:
        return self._opened.result().look()

    def note_done(self, index: int) -> None:
        self._opened.result().note_done(index)
