"""Builds that are struck at random moments, and indexes that are those of unbroken builds.

    python -m tests.archive_proof [--seed 0] [--runs 20] [--videos 6] [--out FILE]

In each run an archive is indexed by two workers, and a fault strikes, or two, after a number of
chunks that follows from the seed. What ended is started again until it ends by itself. Then the
index must have the bytes of one that nothing has happened to. All the time a reader looks at it:
whatever a record names must be there, whole; and no chunk that had its record is done again, so
that what is done twice is what was in hand. A promise that is broken ends the proof with exit
code 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.archive_proof.faults import FAULTS, Driver, Fault, make_room, own_disk
from tests.archive_proof.watching import Watcher, watching
from tests.chaos.__main__ import heading
from tests.pipeline import scene
from tests.pipeline.clips import write_clip

STUCK_S = 600.0
"""So long nothing may take, however busy the machine is."""
LOOK_S = 0.05
LENGTHS = (30, 24, 16, 20, 14, 12)
OPTIONS = ("--text", "red circle", "--text", "blue square", "--chunk-s", "0.2")


@dataclass
class Report:
    """What was done and seen.

    Attributes:
        took_s: for each fault, how long runs took from it to the end of the index.
        num_looks: how often readers looked.
        num_files: files that were compared with those of an unbroken build.
    """

    took_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    num_runs: int = 0
    num_looks: int = 0
    num_files: int = 0

    def table(self) -> str:
        """In Markdown: each fault, how often it struck, and how long it took to the end."""
        rows = [
            f"| {fault} | {len(times)} | {statistics.median(times):.1f} | {max(times):.1f} |"
            for fault, times in sorted(self.took_s.items())
        ]
        return "\n".join(
            ["| fault | times | median s | longest s |", "|---|---:|---:|---:|", *rows]
        )


def write_videos(folder: Path, lengths: tuple[int, ...]) -> Path:
    """Videos of so many frames."""
    folder.mkdir()
    for number, length in enumerate(lengths):
        images = [scene.image(index + 3 * number) for index in range(length)]
        write_clip(folder / f"{number}.mp4", images, options={"crf": "10", "g": "6"})
    return folder


def build_whole(videos: Path, index: Path) -> dict[str, bytes]:
    """The files of an index that nothing has happened to."""
    code, errors = Driver(videos, index, *OPTIONS, "--workers", "0").finish(STUCK_S)
    assert code == 0, errors
    return files_of(index)


def files_of(index: Path) -> dict[str, bytes]:
    """The bytes of all files of an index."""
    return {
        path.relative_to(index).as_posix(): path.read_bytes()
        for path in sorted(index.rglob("*"))
        if path.is_file()
    }


def prove_once(
    videos: Path, disk: Path, faults: list[tuple[Fault, int]], report: Report
) -> dict[str, bytes]:
    """Index, with faults, each after so many chunks; returns the files of the index."""
    index = disk / "index"
    waiting = list(faults)
    struck: list[tuple[str, float]] = []
    with watching(index) as watcher:
        while True:
            driver = Driver(videos, index, *OPTIONS, "--workers", "2")
            ended_by = _strike(driver, watcher, disk, waiting, struck)
            code, errors = driver.finish(STUCK_S)
            make_room(disk)
            if code == 0:
                break
            assert ended_by is not None, f"the build ended by itself with {code}: {errors}"
    report.num_looks += watcher.num_looks
    for name, since_s in struck:
        report.took_s[name].append(time.monotonic() - since_s)
    assert not waiting, f"nothing was struck by {waiting}"
    assert watcher.faults == []
    return files_of(index)


def _strike(
    driver: Driver,
    watcher: Watcher,
    disk: Path,
    waiting: list[tuple[Fault, int]],
    struck: list[tuple[str, float]],
) -> Fault | None:
    """Wait for the end of a build, and do what is due; returns what has ended it, if anything."""
    ended_by: Fault | None = None
    begun_s = time.monotonic()
    while not driver.is_over and ended_by is None:
        assert time.monotonic() - begun_s < STUCK_S, "the build does not go on"
        time.sleep(LOOK_S)
        driver.look()
        if waiting and watcher.num_chunks() >= waiting[0][1]:
            fault = waiting[0][0]
            if fault.strike(driver, disk):
                struck.append((fault.name, time.monotonic()))
                waiting.pop(0)
                ended_by = fault if fault.ends_build else None
    return ended_by


def prove(seed: int, num_runs: int, folder: Path, lengths: tuple[int, ...]) -> Report:
    """Run the proof."""
    report, random = Report(), Random(seed)
    videos = write_videos(folder / "videos", lengths)
    whole = build_whole(videos, folder / "whole")
    num_chunks = sum(-(-length // 6) for length in lengths)
    order = [fault for _ in range(-(-num_runs // len(FAULTS))) for fault in FAULTS]
    random.shuffle(order)
    for number in range(num_runs):
        run = folder / f"run-{number}"
        run.mkdir()
        faults = [(order[number], random.randrange(num_chunks - 2))]
        if random.random() < 0.25:
            faults.append((random.choice(FAULTS), random.randrange(num_chunks - 2)))
        with own_disk(run) as disk:
            found = prove_once(videos, disk, sorted(faults, key=lambda one: one[1]), report)
        assert found == whole, _differences(found, whole)
        report.num_runs += 1
        report.num_files += len(found)
        print(f"{number + 1} of {num_runs}:", *(fault.name for fault, _ in faults), flush=True)
    return report


def _differences(found: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    return sorted(
        name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name)
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.archive_proof")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--videos", type=int, default=len(LENGTHS))
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    if os.geteuid() != 0:  # disks that can be filled up are mounted: in a namespace of our own
        os.execvp("unshare", ["unshare", "-rm", sys.executable, "-m", "tests.archive_proof",
                              *sys.argv[1:]])  # fmt: skip
    begun_s, lengths = time.monotonic(), LENGTHS[-options.videos :]
    with tempfile.TemporaryDirectory() as folder:
        report = prove(options.seed, options.runs, Path(folder), lengths)
    text = (
        f"{heading(options.seed, time.monotonic() - begun_s)}\n\n{report.table()}\n\n"
        f"{report.num_runs} indexes of {len(lengths)} videos with {sum(lengths)} frames, by two "
        f"workers; all {report.num_files} files are those of an unbroken build, to the byte. "
        f"Readers looked {report.num_looks} times, and saw whole videos and chunks only; no chunk "
        "that was done was done again.\n"
    )
    print(text)
    if options.out is not None:
        options.out.write_text(
            f"# The last run of `make archive-proof`\n\n{text}", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
