"""How long something takes, on a machine that may have other things to do."""

from __future__ import annotations

import hashlib
import threading
import time
from types import TracebackType
from typing import Self

_WORK = bytes(2**24)
"""Some ten milliseconds' worth: several turns on a processor that is shared."""
_PAUSE_S = 0.1


class Stopwatch:
    """Seconds as they would be on a machine with nothing else to do.

    Where processors are shared, all takes longer. By how much, a thread beside what is timed sees:
    it does a little work now and then, and compares how long that took with the processor time
    that it took. On an idle machine the two are equal, and seconds are seconds.
    """

    def __init__(self) -> None:
        self._wall_s = self._processor_s = 0.0
        self._begin_s = time.monotonic()
        self._end_s: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._begin_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_s = time.monotonic()
        self._stop.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Of what was done within the context; it must have been left."""
        assert self._end_s is not None
        slowdown = max(1.0, self._wall_s / self._processor_s)
        return (self._end_s - self._begin_s) / slowdown

    def _watch(self) -> None:
        while True:
            wall_s, processor_s = time.monotonic(), time.thread_time()
            hashlib.sha256(_WORK).digest()  # without the interpreter's lock
            self._wall_s += time.monotonic() - wall_s
            self._processor_s += time.thread_time() - processor_s
            if self._stop.wait(_PAUSE_S):
                return
