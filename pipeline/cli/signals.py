"""Ctrl-C and SIGTERM: the first stops a command, the second kills it."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Self


class StopSignals:
    """Notes the first Ctrl-C or SIGTERM in ``received``; the second one kills the process."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

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
        self.received = signal.Signals(number)
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        # Not print: the signal may have interrupted a print, which cannot run twice at once.
        os.write(2, b"\nfinishing the files; press Ctrl-C again to kill\n")
