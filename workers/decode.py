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
"""What a feed says of a frame. It travels as it is; only its reader knows what is in it."""


class Feed(Protocol):
    """A source of frames; used by one call at a time.

    A source that fails says so in a note; it raises nothing.
    """

    def begin(self, start: int, *, reverse: bool) -> None:
        """Have ``next`` give frame ``start`` and those behind it, for sources with a position."""

    def next(self, timeout_s: float) -> tuple[Note, NDArray[np.uint8]]:
        """The next frame."""

    def read(self, index: int) -> tuple[Note, NDArray[np.uint8]]:
        """One frame by its index, leaving the position as it is."""

    def look(self) -> Note:
        """The account as it is now. May be called at any time."""

    def note_done(self, index: int) -> None:
        """Frames up to this one of this feed will not be asked for again."""

    def close(self) -> None:
        """Let go of the source."""


FeedFactory = Callable[[Mapping[str, Any]], Feed]


class DecodeWorker:
    """One source. Its calls are answered one after another, ``look`` and ``close`` in between.

    The owner of what it returns is the caller: a picture that was handed over outlives this actor.
    ``open`` comes before all that needs a source: calls that overtake it wait for it, and raise
    what it has raised.
    """

    def __init__(self) -> None:
        self._opened: Future[Feed] = Future()
        self._turn = threading.Lock()

    def prepare(self, factory: FeedFactory) -> None:
        """Do nothing; what the factory needs is imported by then."""

    def open(self, factory: FeedFactory, spec: Mapping[str, Any]) -> None:
        """Open the source, once.

        Args:
            factory: importable.
            spec: plain data for it.
        """
        try:
            self._opened.set_result(factory(spec))
        except Exception as error:  # handed over to those who wait for the source
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

    def close(self) -> None:
        self._opened.result().close()
