"""Whether a runtime can still serve, found out without calling Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from maskstream.core.error_text import error_text
from maskstream.core.errors import MaskstreamError
from maskstream.core.redaction import redact

_LOOK_EVERY_S = 1.0


class Vitals:
    """Watches the supervisor of a runtime, and the processes of Ray that it depends on.

    Ray itself tells a driver nothing when its raylet or its GCS dies: workers that live go on for a
    while, no new one ever starts, and some calls never return. So the supervisor says that it
    goes on (``note_turn``), and the processes are looked at from outside.

    Threads: the supervisor calls ``note_turn``, ``waiting_for_store`` and ``fail``, another thread
    ``find_fault``.

    Args:
        find_missing: names a process of Ray that accepts no connection; None: all do.
        missing_s: how long each process may be missing, in seconds, by its name; by default only
            until the next look.
        turn_s: how long a turn of the supervisor may take, in seconds.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        find_missing: Callable[[], str | None],
        missing_s: Mapping[str, float],
        turn_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_missing = find_missing
        self._missing_s = missing_s
        self._turn_s = turn_s
        self._clock = clock
        self._turned_s = self._looked_s = clock()
        self._is_waiting_for_store = False
        self._missing: tuple[str, float] | None = None
        self._error: BaseException | None = None

    @property
    def is_ray_whole(self) -> bool:
        """Whether no process of Ray is missing at this moment."""
        return self._find_missing() is None

    def note_turn(self) -> None:
        """The supervisor begins another turn."""
        self._turned_s = self._clock()

    @contextmanager
    def waiting_for_store(self) -> Iterator[None]:
        """The supervisor waits for the session store, which has a limit of its own."""
        self._is_waiting_for_store = True
        try:
            yield
        finally:
            self.note_turn()
            self._is_waiting_for_store = False

    def fail(self, error: BaseException) -> None:
        """The supervisor has ended with an error."""
        self._error = error

    def find_fault(self) -> str | None:
        """Why the runtime cannot serve any more, in half a sentence; None: it can."""
        now_s = self._clock()
        error = self._error
        if isinstance(error, MaskstreamError):
            return error_text(error).partition(": ")[2]
        if error is not None:
            return redact(f"its supervisor has failed: {type(error).__name__}: {error}")
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._look(now_s)
        if self._missing is not None:
            name, since_s = self._missing
            if now_s - since_s >= self._missing_s.get(name, _LOOK_EVERY_S):
                return f"{name} is gone"
        if not self._is_waiting_for_store and now_s - self._turned_s >= self._turn_s:
            return f"Ray has not answered for {self._turn_s:g} s"
        return None

    def _look(self, now_s: float) -> None:
        # A longer time between two looks does not count: the machine may have been asleep.
        if now_s - self._looked_s > self._turn_s:
            self._turned_s, self._missing = now_s, None
        self._looked_s = now_s
        missing = self._find_missing()
        if missing is None:
            self._missing = None
        elif self._missing is None or self._missing[0] != missing:
            self._missing = (missing, now_s)
