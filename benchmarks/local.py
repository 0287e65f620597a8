"""A session in this process beside the segmenter alone: what the session API costs a frame.

    python -m benchmarks.local [--frames N] [--rounds N] [--threads N]

Each system runs in a process of its own, in turns: torch's helper threads belong to the thread
that calls torch, and a process that has called it from two threads is slower.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.clip import steady, texts, write_clip
from benchmarks.measure import surroundings
from benchmarks.model import OUTPUT, table
from maskstream.core.threads import use_threads
from maskstream.pipeline.compat.builders import build_sam3_video_predictor
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.video.segmenter import VideoSegmenter

WIDTH, HEIGHT = 320, 240
SYSTEMS = ("segmenter", "session")
NUM_WARM_UP_FRAMES = 20


def run_segmenter(clip: Path, num_frames: int) -> None:
    """Words through ``VideoSegmenter``, masks as arrays."""
    segmenter = VideoSegmenter.from_checkpoint("tiny", device="cpu")
    for text in texts(2):
        segmenter.add_concept(text)
    with open_source(clip) as source:
        _clock(segmenter.run(source), num_frames)


def run_session(clip: Path, num_frames: int) -> None:
    """The same words through the session API."""
    with build_sam3_video_predictor(checkpoint_path="tiny", device="cpu") as predictor:
        start = {"type": "start_session", "resource_path": str(clip)}
        name = predictor.handle_request(start)["session_id"]
        for text in texts(2):
            prompt = {"type": "add_prompt", "session_id": name, "frame_index": 0, "text": text}
            predictor.handle_request(prompt)
        _clock(
            predictor.handle_stream_request({"type": "propagate_in_video", "session_id": name}),
            num_frames,
        )


def _clock(results: Any, num_frames: int) -> None:
    """Print the milliseconds a frame of all but the first frames, and the processor's."""
    began_s = used_s = 0.0
    num_seen = 0
    for num_seen, _ in enumerate(results, 1):
        if num_seen == NUM_WARM_UP_FRAMES:
            began_s, used_s = time.perf_counter(), time.process_time()
    took = 1000 * (time.perf_counter() - began_s) / (num_seen - NUM_WARM_UP_FRAMES)
    used = 1000 * (time.process_time() - used_s) / (num_seen - NUM_WARM_UP_FRAMES)
    if num_seen != num_frames:
        raise RuntimeError(f"{num_seen} results of {num_frames} frames")
    print(json.dumps({"ms": took, "processor_ms": used}))


def measure(clip: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each system; ``of_segmenter`` is the median of the ratios within a round."""
    rounds: list[dict[str, dict[str, float]]] = []
    for _ in range(given.rounds):
        rounds.append({})
        for system in SYSTEMS:
            command = [sys.executable, "-m", "benchmarks.local", "--system", system,
                       "--clip", str(clip), "--frames", str(given.frames),
                       "--threads", str(given.threads)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds[-1][system] = json.loads(done.stdout)
            print(f"{system}: {rounds[-1][system]}", file=sys.stderr, flush=True)
    return [
        {
            "system": system,
            "ms_per_frame": round(statistics.median(one[system]["ms"] for one in rounds), 1),
            "processor_ms": round(
                statistics.median(one[system]["processor_ms"] for one in rounds), 1
            ),
            "of_segmenter": round(
                statistics.median(one[system]["ms"] / one["segmenter"]["ms"] for one in rounds), 2
            ),
        }
        for system in SYSTEMS
    ]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local")
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    use_threads(given.threads)
    if given.system is not None:
        run = run_segmenter if given.system == "segmenter" else run_session
        run(given.clip, given.frames)
        return
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", given.frames, WIDTH, HEIGHT, steady)
        rows = measure(clip, given)
    facts = surroundings(torch.device("cpu"), torch.float32)
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    text += f"\n\n{table(rows)}\n"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "local.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
