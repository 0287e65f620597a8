"""Faults in a random order, at random moments, and results that are those of an unbroken run.

    python -m tests.chaos [--seed 0] [--seconds 120] [--kills 0] [--out FILE]

Rounds of three sessions on real Ray and Redis: one file for offline results, one live, and pushed
frames. Processes are killed and stopped all the time; which, and after how many results, follows
from the seed: workers, the driver, its raylet and GCS, the Redis server. What the kernel does when
memory runs out is the same SIGKILL; what Ray's memory monitor does has a test of its own, as it
cannot be made to act at a certain moment.

At the end of a round each session must have given each frame's result once, in order, and to the
bit as in one process that nothing happens to. Prints how often each fault struck, how long the
sessions took to go on, and how many ids changed and frames were lost or doubled. If any, the exit
code is 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch

from maskstream.pipeline.store import SessionStore, open_store
from maskstream.pipeline.video.model import VideoModel
from tests.chaos.faults import FAULTS, Service, serving
from tests.chaos.sessions import NUM_FRAMES, Damage, Run
from tests.integration.serving import KEY
from tests.pipeline import scene

STUCK_S = 180.0
"""So long no session may give a result, however busy the machine is."""
LOOK_EVERY_S = 0.05
MAX_RESULTS_BETWEEN = 8
MAX_PAUSE_S = 0.3


@dataclass
class Wait:
    """For sessions to go on after a fault.

    Attributes:
        since_s: when it was, monotonic.
        counts: of the results that each open session had then, by its place.
    """

    fault: str
    since_s: float
    counts: dict[int, int]


@dataclass
class Report:
    """What was done and seen."""

    num_faults: Counter[str] = field(default_factory=Counter)
    gaps_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    num_sessions: int = 0
    damage: Damage = field(default_factory=Damage)

    @property
    def num_kills(self) -> int:
        return sum(times for fault, times in self.num_faults.items() if fault.startswith("kill"))

    def table(self) -> str:
        """In Markdown: each kind of fault, and how long it took until all sessions went on.

        Sessions that end before they had to go on have no gap.
        """
        rows = ["| fault | times | median gap s | longest gap s |", "|---|---:|---:|---:|"]
        for fault, times in sorted(self.num_faults.items()):
            gaps = self.gaps_s[fault]
            told = f"{statistics.median(gaps):.1f} | {max(gaps):.1f}" if gaps else "– | –"
            rows.append(f"| {fault} | {times} | {told} |")
        return "\n".join(rows)

    def summary(self) -> str:
        """In Markdown: what all of it did to the sessions."""
        gaps_s = [gap_s for gaps_s in self.gaps_s.values() for gap_s in gaps_s]
        damage = self.damage
        row = {
            "kills": self.num_kills,
            "hangs": self.num_faults.total() - self.num_kills,
            "sessions": self.num_sessions,
            "frames": damage.num_frames,
            "ids changed": damage.ids_changed,
            "lost": damage.lost,
            "doubled": damage.doubled,
            "longest gap s": round(max(gaps_s, default=0.0), 1),
        }
        lines = [list(row), ["---:"] * len(row), [str(value) for value in row.values()]]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


class Round:
    """Three sessions and what happens to them."""

    def __init__(self, runs: list[Run], service: Service, random: Random, report: Report) -> None:
        self._runs, self._service, self._random, self._report = runs, service, random, report
        self._waits: list[Wait] = []

    def play(self, is_enough: Callable[[], bool]) -> None:
        """Until all are over; once it is enough, they are left in peace."""
        self._go_on_by(self._random.randint(1, MAX_RESULTS_BETWEEN))
        while self._open():
            if not is_enough():
                self._strike()
            self._go_on_by(self._random.randint(1, MAX_RESULTS_BETWEEN))

    def _open(self) -> list[int]:
        return [place for place, run in enumerate(self._runs) if not run.is_over]

    def _strike(self) -> None:
        threading.Event().wait(self._random.uniform(0, MAX_PAUSE_S))
        fault = self._random.choice(FAULTS)
        counts = {place: len(self._runs[place].entries) for place in self._open()}
        since_s = time.monotonic()
        if self._service.strike(fault, self._random):
            self._report.num_faults[fault] += 1
            self._waits.append(Wait(fault, since_s, counts))

    def _go_on_by(self, num_results: int) -> None:
        """Read until so many more results are there, or all sessions are over."""
        start = last = self._num_results()
        progress_s = time.monotonic()
        while self._open() and last < start + num_results:
            threading.Event().wait(LOOK_EVERY_S)
            for place in self._open():
                self._runs[place].look()
            self._note_who_went_on()
            if self._num_results() > last:
                last, progress_s = self._num_results(), time.monotonic()
            assert time.monotonic() - progress_s < STUCK_S, [
                run.served.store.get_session(run.served.session_id) for run in self._runs
            ]

    def _num_results(self) -> int:
        return sum(len(run.entries) for run in self._runs)

    def _note_who_went_on(self) -> None:
        for wait in list(self._waits):
            if all(len(self._runs[place].entries) > n for place, n in wait.counts.items()):
                self._report.gaps_s[wait.fault].append(time.monotonic() - wait.since_s)
                self._waits.remove(wait)


def start_round(store: SessionStore, clip: Path, number: int) -> list[Run]:
    """Three sessions of different kinds."""
    kinds: list[tuple[Path | None, str]] = [(clip, "delayed"), (clip, "live"), (None, "delayed")]
    return [Run.start(store, f"round-{number}-{place}", *kind) for place, kind in enumerate(kinds)]


def chaos(seed: int, seconds: float, num_kills: int, folder: Path) -> Report:
    """Play rounds until the time is over and so many were killed, and the last one to its end."""
    report, random = Report(), Random(seed)
    model = VideoModel.from_checkpoint("tiny", device="cpu")
    clip = scene.write_scene(folder / "clip.mp4", NUM_FRAMES)
    end_s = time.monotonic() + seconds

    def is_enough() -> bool:
        return time.monotonic() >= end_s and report.num_kills >= num_kills

    with (
        serving(folder) as service,
        closing(open_store(service.url, secret_key=KEY)) as store,
    ):
        number = 0
        while number == 0 or not is_enough():
            runs = start_round(store, clip, number)
            Round(runs, service, random, report).play(is_enough)
            for run in runs:
                report.damage += run.compare(model)
                report.num_sessions += 1
                run.served.store.delete_session(run.served.session_id)
            number += 1
    return report


def heading(seed: int, seconds: float) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"seed {seed}, {seconds:.0f} s, commit {commit or 'unknown'}, {os.cpu_count()} cores of "
        f"{platform.machine()}, load {load}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--kills", type=int, default=0, help="go on until so many were killed")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    began_s = time.monotonic()
    torch.set_num_threads(1)  # as workers have it; see ARCHITECTURE.md
    with tempfile.TemporaryDirectory() as folder:
        report = chaos(options.seed, options.seconds, options.kills, Path(folder))
    took_s = time.monotonic() - began_s
    text = f"{heading(options.seed, took_s)}\n\n{report.summary()}\n\n{report.table()}\n"
    print(text)
    if options.out is not None:
        options.out.write_text(f"# The last run of `make chaos`\n\n{text}", encoding="utf-8")
    return 0 if report.damage.is_none else 1


if __name__ == "__main__":
    sys.exit(main())
