"""How far a build of an index is: a line that changes, lines in a pipe, or JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from maskstream.core.closing import Closing
from maskstream.pipeline.archive.indexing.building import BuildResult, BuildWatch
from maskstream.pipeline.archive.indexing.indexer import ChunkDone, Outcome
from maskstream.pipeline.archive.plan.jobs import Job, JobKey
from maskstream.pipeline.archive.plan.planning import PlanCounts

_LINE_EVERY_S = 10.0
_OBJECT_EVERY_S = 1.0


class BuildPrinter(BuildWatch, Closing):
    """Prints how a build goes.

    On a terminal one line changes in place. In a pipe a line is printed every ten seconds, and for
    every failure. With ``as_json`` these are objects, each on a line of stdout, every second.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        if self._console.is_terminal and not as_json:
            self._live = Live(console=self._console, transient=True)
        self._begun_s = self._printed_s = time.monotonic()
        self._num_jobs = self._num_done = self._num_failed = self._num_frames = 0
        self._planned_s = self._done_s = 0.0
        self._reached_s: dict[JobKey, float] = {}

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def close(self) -> None:
        """Stop showing."""
        if self._live is not None:
            self._live.stop()

    def planned(self, jobs: Sequence[Job], counts: PlanCounts) -> None:
        """See ``BuildWatch``."""
        self._num_jobs = len(jobs)
        self._planned_s = sum((job.duration_s or 0.0) / job.num_parts for job in jobs)
        self._begun_s = time.monotonic()
        told = {
            "files": counts.listed,
            "indexed": counts.indexed,
            "to_do": counts.to_do,
            "changed": counts.changed,
            "failed": counts.failed + counts.failed_before,
            "hours": round(self._planned_s / 3600, 3),
        }
        self._print(
            "planned",
            told,
            f"{counts.listed} files: {counts.indexed} indexed, {counts.to_do} to do "
            f"({self._planned_s / 3600:.2f} h of video), {counts.changed} of these changed, "
            f"{counts.failed + counts.failed_before} failed",
        )

    def chunk_done(self, chunk: ChunkDone) -> None:
        """See ``BuildWatch``."""
        key = chunk.job.key
        self._num_frames += chunk.num_frames
        begun_s = chunk.job.watched.start_s or 0.0
        self._done_s += max(0.0, chunk.time_s - self._reached_s.get(key, begun_s))
        self._reached_s[key] = chunk.time_s
        self._show()

    def ended(self, outcome: Outcome) -> None:
        """See ``BuildWatch``."""
        self._reached_s.pop(outcome.job.key, None)
        self._num_done += outcome.ending == "done"
        if outcome.ending == "failed":
            self._num_failed += 1
            told = {"source": outcome.job.source, "reason": outcome.reason}
            self._print("failure", told, f"failed: {outcome.job.source}: {outcome.reason}")
        self._show()

    def close_with(self, result: BuildResult) -> None:
        """Print what the build has done."""
        counts, took_s = result.counts, time.monotonic() - self._begun_s
        told = {
            "done": result.num_done,
            "failed": result.num_failed + counts.failed,
            "left": len(result.left),
            "frames": self._num_frames,
            "seconds": round(took_s, 1),
        }
        self._print(
            "end",
            told,
            f"{result.num_done} videos indexed, {result.num_failed + counts.failed} failed, "
            f"{len(result.left)} left; {self._num_frames} frames in {took_s:.0f} s",
        )

    def _show(self) -> None:
        now_s = time.monotonic()
        if self._live is not None:
            self._live.update(Text(self._line()))
        elif now_s - self._printed_s >= (_OBJECT_EVERY_S if self._as_json else _LINE_EVERY_S):
            self._printed_s = now_s
            self._print("progress", self._figures(), self._line())

    def _line(self) -> str:
        figures = self._figures()
        left_s = figures["left_s"]
        return (
            f"{figures['done']} of {self._num_jobs} videos, {figures['hours']:.2f} of "
            f"{self._planned_s / 3600:.2f} h, {figures['fps']:.1f} frames a second, "
            f"{'?' if left_s is None else f'{left_s / 60:.0f} min'} left, "
            f"{figures['failed']} failed"
        )

    def _figures(self) -> dict[str, Any]:
        took_s = max(1e-3, time.monotonic() - self._begun_s)
        share = self._done_s / self._planned_s if self._planned_s > 0 else 0.0
        return {
            "done": self._num_done,
            "failed": self._num_failed,
            "hours": round(self._done_s / 3600, 4),
            "fps": round(self._num_frames / took_s, 2),
            "left_s": round(took_s * (1 / share - 1)) if 0 < share <= 1 else None,
        }

    def _print(self, event: str, told: dict[str, Any], line: str) -> None:
        if self._as_json:
            print(json.dumps({"event": event, **told}), flush=True)
        elif self._live is not None:
            self._live.console.print(line)
        else:
            print(line, file=sys.stderr, flush=True)
