"""Speed and memory against transformers, on the same weights, frames, threads and dtype.

    python -m benchmarks.model [--device cpu|cuda] [--dtype …] [--quick] [--section …]

Writes a table to ``benchmarks/output/`` beside the same numbers as JSON, and prints it. How to
read it is said in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import surroundings, synchronise
from benchmarks.reference import build_reference
from benchmarks.scenes import Scene
from benchmarks.sections import Bench, frames, tracking
from maskstream.core.linear import linear
from maskstream.core.threads import use_threads
from maskstream.pipeline.video.model import VideoModel

OUTPUT = Path(__file__).parent / "output"
SECTIONS = ("frame", "tracking", "stream")
CUDA_TFLOP_PER_S = 790.0
"""What a Hopper card was seen to do in bfloat16."""


def measured_rate(device: torch.device, dtype: torch.dtype) -> float:
    """TFLOP/s of a matrix product on the fastest kernel at hand.

    The best of many short runs, so that some fall between what else the machine does.
    """
    rows = 512 if device.type == "cpu" else 4096
    x = torch.randn(rows, rows, device=device, dtype=dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(300):
            synchronise(device)
            start = time.perf_counter()
            linear(x, x)
            synchronise(device)
            best = min(best, time.perf_counter() - start)
    return 2 * rows**3 / best / 1e12


def stream(given: argparse.Namespace, system: str, marks: list[int]) -> list[dict[str, Any]]:
    """One system's long stream, in a process of its own so that memory is its own."""
    command = [sys.executable, "-m", "benchmarks.stream", "--system", system]
    command += ["--device", given.device, "--dtype", given.dtype]
    command += ["--threads", str(given.threads), "--marks", *map(str, marks)]
    if given.checkpoint:
        command += ["--checkpoint", given.checkpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    lines = (line for line in done.stdout.splitlines() if line.startswith("{"))
    return [{"system": system, **json.loads(line)} for line in lines]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|" + " ---: |" * len(names))
    for row in rows:
        cells = ("–" if row[name] is None else str(row[name]) for name in names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def collect(name: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of a section, shown as they come."""
    out = []
    for row in rows:
        print(f"{name}: {row}", file=sys.stderr, flush=True)
        out.append(row)
    return out


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run the sections asked for."""
    model = VideoModel.from_checkpoint(given.checkpoint, device=given.device, dtype=given.dtype)
    rate = given.tflop_per_s or (
        CUDA_TFLOP_PER_S
        if model.device.type == "cuda"
        else measured_rate(model.device, model.dtype)
    )
    results: dict[str, Any] = {
        **surroundings(model.device, model.dtype),
        "checkpoint": str(given.checkpoint or "tiny"),
        "num_rounds": given.rounds,
        "tflop_per_s": round(rate, 3),
    }
    bench = Bench(
        model=model,
        reference=build_reference(model),
        scene=Scene(model.detector.config.image_size),
        tflop_per_s=rate,
        num_rounds=given.rounds,
    )
    with torch.inference_mode():
        if "frame" in given.section:
            results["frame"] = collect("frame", frames(bench, [1, 4, 16]))
        if "tracking" in given.section:
            counts = [1, 4, 16] if given.quick else [1, 4, 16, 64]
            results["tracking"] = collect("tracking", tracking(bench, counts))
    if "stream" in given.section:
        ours = [40, 100] if given.quick else [100, 1000, 3000]
        other = [40] if given.quick else [100, 300]
        rows = stream(given, "maskstream", ours) + stream(given, "transformers", other)
        results["stream"] = collect("stream", rows)
    return results


def report(results: dict[str, Any]) -> str:
    """The tables with what was measured where."""
    facts = {key: value for key, value in results.items() if key not in SECTIONS}
    parts = [", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())]
    titles = {
        "frame": "One frame, so many concepts",
        "tracking": "One frame, so many masklets",
        "stream": "One long stream with masklets coming and going",
    }
    for name, title in titles.items():
        if name in results:
            parts.append(f"### {title}\n\n{table(results[name])}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", help="float32 on the CPU, bfloat16 on CUDA unless given")
    parser.add_argument("--checkpoint", help="as for the command maskstream; tiny unless given")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, help="rounds of every timing")
    parser.add_argument("--section", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--tflop-per-s", type=float, help="rate of the arithmetic floor")
    parser.add_argument("--quick", action="store_true", help="few rounds, short streams")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    given = parser.parse_args()
    given.dtype = given.dtype or ("bfloat16" if given.device.startswith("cuda") else "float32")
    given.rounds = given.rounds or (3 if given.quick else 15)
    use_threads(given.threads)
    results = measure(given)
    text = report(results)
    given.out.mkdir(parents=True, exist_ok=True)
    stem = f"model-{given.device.partition(':')[0]}-{given.dtype}"
    (given.out / f"{stem}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (given.out / f"{stem}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
