"""Counters of a build in a file, in the text format of Prometheus."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from maskstream.core.errors import OutputError
from maskstream.pipeline.archive.indexing.building import BuildWatch
from maskstream.pipeline.archive.indexing.indexer import ChunkDone, Outcome
from maskstream.pipeline.archive.plan.jobs import Job
from maskstream.pipeline.archive.plan.planning import PlanCounts

_HELP = {
    "maskstream_index_files": "Files of the archives, by what is known of them at the start.",
    "maskstream_index_jobs_total": "Videos, or parts of them, that were worked on, by their end.",
    "maskstream_index_frames_total": "Frames that were looked at.",
    "maskstream_index_chunks_total": "Chunks that were written.",
}


class MetricsFile(BuildWatch):
    """Writes counters after each chunk and each video; the file is always whole.

    It is read, for example, by the textfile collector of Prometheus' node exporter.

    Args:
        path: of the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, float] = {}
        self._lock = threading.Lock()

    def planned(self, jobs: Sequence[Job], counts: PlanCounts) -> None:
        """See ``BuildWatch``."""
        known = {
            "indexed": counts.indexed,
            "to_do": counts.to_do,
            "failed": counts.failed + counts.failed_before,
        }
        for state, number in known.items():
            self._values[f'maskstream_index_files{{state="{state}"}}'] = number
        for ending in ("done", "failed"):
            self._values[f'maskstream_index_jobs_total{{ending="{ending}"}}'] = 0
        self._values["maskstream_index_frames_total"] = 0
        self._values["maskstream_index_chunks_total"] = 0
        self._write()

    def chunk_done(self, chunk: ChunkDone) -> None:
        """See ``BuildWatch``."""
        with self._lock:
            self._values["maskstream_index_frames_total"] += chunk.num_frames
            self._values["maskstream_index_chunks_total"] += 1
            self._write()

    def ended(self, outcome: Outcome) -> None:
        """See ``BuildWatch``."""
        with self._lock:
            self._values[f'maskstream_index_jobs_total{{ending="{outcome.ending}"}}'] += 1
            self._write()

    def _write(self) -> None:
        lines = []
        for name, text in _HELP.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [
                f"{series} {value:g}"
                for series, value in self._values.items()
                if series.partition("{")[0] == name
            ]
        unfinished = self._path.with_name(f"{self._path.name}.part")
        try:
            unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
            os.replace(unfinished, self._path)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error}") from error


class WatchGroup(BuildWatch):
    """Tells several."""

    def __init__(self, members: Sequence[BuildWatch]) -> None:
        self._members = members

    def planned(self, jobs: Sequence[Job], counts: PlanCounts) -> None:
        """See ``BuildWatch``."""
        for one in self._members:
            one.planned(jobs, counts)

    def chunk_done(self, chunk: ChunkDone) -> None:
        """See ``BuildWatch``."""
        for one in self._members:
            one.chunk_done(chunk)

    def ended(self, outcome: Outcome) -> None:
        """See ``BuildWatch``."""
        for one in self._members:
            one.ended(outcome)
