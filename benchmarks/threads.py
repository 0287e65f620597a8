"""What torch's threads cost on an idle machine, and on one that has other things to do.

Each run is a process of its own, which follows two concepts through the bundled clip, as
``maskstream segment`` does. Before it, busy loops are started. The ways to run take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import surroundings

OUTPUT = Path(__file__).parent / "output"
_OWN = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# "before" is what torch does by itself: KMP_BLOCKTIME is of no effect on GNU's OpenMP, but named by
# the user, so that nothing else is set.
WAYS: dict[str, dict[str, str]] = {
    "before": {"KMP_BLOCKTIME": "200", "OMP_NUM_THREADS": str(os.cpu_count())},
    "spin count": {"GOMP_SPINCOUNT": "20000", "OMP_NUM_THREADS": str(os.cpu_count())},
    "default": {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(os.cpu_count())},
}


def run(num_frames: int) -> dict[str, float]:
    """Follow two concepts through so many frames."""
    from maskstream.pipeline.sources import open_source
    from maskstream.pipeline.video.segmenter import VideoSegmenter

    segmenter = VideoSegmenter.from_checkpoint("tiny", device="cpu")
    for text in ("dog face", "airplane"):
        segmenter.add_concept(text)
    clip = files("maskstream.pipeline").joinpath("assets", "demo.mp4")
    with open_source(Path(str(clip))) as source:
        frames = iter(source)
        for frame in islice(frames, 3):
            segmenter.step(frame)
        wall_s, processor_s = time.perf_counter(), time.process_time()
        for frame in islice(frames, num_frames):
            segmenter.step(frame)
    return {
        "wall_ms": 1e3 * (time.perf_counter() - wall_s) / num_frames,
        "processor_ms": 1e3 * (time.process_time() - processor_s) / num_frames,
        "threads": torch.get_num_threads(),
    }


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Other programs that never wait."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of busy loops and way to run: medians over the rounds."""
    rows = []
    for num_loops in given.loops:
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in given.ways}
        for _ in range(given.rounds):
            for way in given.ways:
                with busy_loops(num_loops):
                    runs[way].append(_in_a_process(WAYS[way], given.frames))
        first = runs[given.ways[0]]
        for way, found in runs.items():
            ratios = [a["wall_ms"] / b["wall_ms"] for a, b in zip(found, first, strict=True)]
            rows.append(
                {
                    "busy loops": num_loops,
                    "way": way,
                    "threads": "/".join(sorted({f"{one['threads']:g}" for one in found})),
                    "ms a frame": round(statistics.median(one["wall_ms"] for one in found)),
                    "worst": round(max(one["wall_ms"] for one in found)),
                    "processor ms": round(statistics.median(one["processor_ms"] for one in found)),
                    f"of {given.ways[0]}": round(statistics.median(ratios), 2),
                }
            )
            print(rows[-1], flush=True)
    return rows


def _in_a_process(environment: dict[str, str], num_frames: int) -> dict[str, float]:
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.threads", "--run", str(num_frames)],
        env=inherited | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([str(row[head]) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 1, 2, 6])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--out", type=Path, default=OUTPUT)
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run is not None:
        print(json.dumps(run(given.run)))
        return
    facts = surroundings(torch.device("cpu"), torch.float32)
    rows = measure(given)
    facts["load_average_after"] = round(os.getloadavg()[0], 1)
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    text += f"\n\n{table(rows)}\n"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "threads.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
