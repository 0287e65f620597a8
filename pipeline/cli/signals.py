"""Ctrl-C and SIGTERM: the first stops a command, the second kills it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class StopSignals:
    """Notes the first Ctrl-C or SIGTERM in ``received``; the second one kills the process.

    Args:
        on_kill: called before the process is killed, to remove files that are of no use.
    """

    def __init__(self, on_kill: Callable[[], None] | None = None) -> None:
        self.received: signal.Signals | None = None
        self.on_kill = on_kill

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count it; 0 when there was no signal."""
        return 0 if self.received is None else 128 + self.received

    def __enter__(self) -> Self:
        """Handle the two signals."""
        self._previous = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._kill(number)
        self.received = signal.Signals(number)
        if self.on_kill is None:
            self._kill_next()
        # Not print: the signal may have interrupted a print, which cannot run twice at once.
        os.write(2, b"\nfinishing the files; press Ctrl-C again to kill\n")

    def _kill(self, number: int) -> None:
        self._kill_next()
        if self.on_kill is not None:
            self.on_kill()
        os.kill(os.getpid(), number)

    def _kill_next(self) -> None:
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
