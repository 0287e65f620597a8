"""Timing side by side, memory, and what a result has to say about where it was measured."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Timing:
    """What one function took, over all rounds.

    Attributes:
        wall_ms: median.
        cpu_ms: median of processor time, all threads together; of use on a busy machine.
    """

    wall_ms: float
    cpu_ms: float


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clocked(function: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Milliseconds of wall and of processor time that one call takes."""
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    synchronise(device)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def side_by_side(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    num_rounds: int,
    num_warm_up: int = 2,
) -> dict[str, list[tuple[float, float]]]:
    """Time functions in turn, round by round, so that all see the same machine.

    Returns:
        For each function the (wall, processor) milliseconds of every round.
    """
    for _ in range(num_warm_up):
        for function in functions.values():
            function()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(num_rounds):
        for name, function in functions.items():
            times[name].append(clocked(function, device))
    return times


def timing(times: list[tuple[float, float]]) -> Timing:
    """Medians."""
    return Timing(
        wall_ms=statistics.median(wall for wall, _ in times),
        cpu_ms=statistics.median(cpu for _, cpu in times),
    )


def speed_up(
    theirs: list[tuple[float, float]], ours: list[tuple[float, float]]
) -> tuple[float, float]:
    """How many times faster the second is, in wall and in processor time.

    The median over rounds of the ratio within a round, in which both saw the same machine.
    """
    pairs = list(zip(theirs, ours, strict=True))
    return (
        statistics.median(a[0] / b[0] for a, b in pairs),
        statistics.median(a[1] / b[1] for a, b in pairs),
    )


def resident_mb() -> float:
    """Memory of this process, MB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def device_mb(device: torch.device) -> float | None:
    """Memory that tensors hold on a CUDA device, MB; None elsewhere."""
    return torch.cuda.memory_allocated(device) / 2**20 if device.type == "cuda" else None


def surroundings(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Commit, machine and versions."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": _processor(),
        "num_cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": str(dtype).removeprefix("torch."),
        "num_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


def _commit() -> str:
    """The commit that was measured; marked where the sources differ from it."""
    root = Path(__file__).parents[1]
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with changes" if changed else commit


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
