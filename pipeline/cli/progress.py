"""The progress bar of ``maskstream segment``."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from maskstream.pipeline.api.rates import Rates
from maskstream.pipeline.api.results import FrameResult


class RunProgress:
    """Shows frames, speed and the number of objects, when stderr is a terminal."""

    def __init__(self, total_frames: int | None) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("segmenting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fps]:.1f} fps"),
            TextColumn("{task.fields[objects]} objects"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_frames, fps=0.0, objects=0)
        self._rates = Rates()

    def __enter__(self) -> Self:
        """Show the bar."""
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
        self._progress.update(self._task, advance=1, fps=self._rates.fps, objects=len(result))
