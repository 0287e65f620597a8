"""What the command line shows: a progress bar on stderr, a table of objects on stdout."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli.signals import RunSummary

_MAX_ROWS = 40
_RATE_WINDOW = 30


class RunProgress:
    """A bar with frames, speed and the number of objects, where stderr is a terminal."""

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
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)

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
        """Leave it as it stands."""
        self._progress.stop()

    def advance(self, result: FrameResult) -> None:
        """Count one frame."""
        self._times.append(time.monotonic())
        elapsed_s = self._times[-1] - self._times[0]
        fps = (len(self._times) - 1) / elapsed_s if elapsed_s > 0 else 0.0
        self._progress.update(self._task, advance=1, fps=fps, objects=len(result))


def print_summary(summary: RunSummary, paths: Sequence[Path], elapsed_s: float) -> None:
    """Print the objects that were seen, and where the results are."""
    console = Console(highlight=False)
    rate = summary.num_frames / elapsed_s if elapsed_s > 0 else 0.0
    console.print(
        f"{summary.num_frames} frames, {len(summary.objects)} objects, "
        f"{elapsed_s:.1f} s ({rate:.1f} fps)"
    )
    if summary.objects:
        console.print(_table(summary))
    for path in paths:
        console.print(str(path), soft_wrap=True, markup=False)


def _table(summary: RunSummary) -> Table:
    table = Table("id", "label", "frames", "first", "last", "mean score")
    for column in table.columns:
        column.justify = "left" if column.header == "label" else "right"
    objects = sorted(summary.objects.values(), key=lambda item: item.obj_id)
    for item in objects[:_MAX_ROWS]:
        score = "" if item.mean_score is None else f"{item.mean_score:.2f}"
        table.add_row(
            str(item.obj_id),
            item.label.replace("[", "\\["),
            str(item.num_frames),
            str(item.first_frame),
            str(item.last_frame),
            score,
        )
    if len(objects) > _MAX_ROWS:
        table.caption = f"and {len(objects) - _MAX_ROWS} more"
    return table
