"""The progress of ``maskstream segment``."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from maskstream.pipeline.api.rates import Rates
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli.figures import num_objects


class RunProgress:
    """Shows frames, speed and the number of objects on standard error.

    On a terminal this is a bar; elsewhere, in a log, it is a line every ten seconds.

    Args:
        total_frames: how many frames will come; None: nobody knows.
        tell_every_s: seconds between two lines.
    """

    def __init__(self, total_frames: int | None, *, tell_every_s: float = 10.0) -> None:
        self._total = total_frames
        self._tell_every_s = tell_every_s
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("segmenting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fps]:.1f} fps"),
            TextColumn("{task.fields[objects]} objects"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_frames, fps=0.0, objects=0)
        self._rates = Rates()
        self._num_frames = 0
        self._told_s = time.monotonic()

    def __enter__(self) -> Self:
        """Show the bar."""
        self._told_s = time.monotonic()
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the bar; what it shows last stays."""
        self._progress.stop()

    def advance(self, result: FrameResult) -> None:
        """Count one frame."""
        self._rates.note()
        self._num_frames += 1
        self._progress.update(self._task, advance=1, fps=self._rates.fps, objects=len(result))
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._told_s >= self._tell_every_s:
            self._told_s = now_s
            of_total = "" if self._total is None else f" of {self._total}"
            self._console.print(
                f"{self._num_frames}{of_total} frames, {self._rates.fps:.1f} fps, "
                f"{num_objects(len(result))}",
                soft_wrap=True,
            )
