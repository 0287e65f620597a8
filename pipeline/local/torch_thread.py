"""The one thread of this process that computes with torch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from maskstream.core.closing import Closing
from maskstream.core.errors import SessionError

P = ParamSpec("P")
R = TypeVar("R")


class TorchThread(Closing):
    """Runs what computes, for all sessions of this process, one call after another.

    On a CPU, torch's helper threads belong to the thread that calls torch. As soon as two threads
    call it, there are more helpers than cores, and each layer waits for helpers to wake up: a
    session took 87 ms a frame instead of 57 on two cores, though it was alone.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="torch")

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have it called in the thread, when it is free.

        Raises:
            SessionError: the thread has ended, or this process is about to.
        """
        try:
            return self._executor.submit(call, *args, **kwargs)
        except RuntimeError as error:
            raise SessionError(f"nothing is computed any more: {error}") from error

    def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it in the thread, and wait; what it raises is raised here."""
        return self.submit(call, *args, **kwargs).result()

    def close(self) -> None:
        self._executor.shutdown()
