"""Hours of a stream in minutes: what grows, and what does not.

    python -m benchmarks.soak [--frames 20000]

A looped clip of small frames, in which objects come and go, through the whole runtime; its client
reads every result. Every few seconds: resident memory of all processes, memory of Redis, and of
the object store. Writes ``soak.csv`` and ``soak.png`` to ``benchmarks/output/``, and says how much
each has grown since the warm-up.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray
import redis
from PIL import Image, ImageDraw

from benchmarks.clip import TEXTS, coming_and_going, write_clip
from benchmarks.model import OUTPUT
from maskstream.core.errors import StoreError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.runtime import Runtime, RuntimeConfig
from maskstream.pipeline.store import open_store

WIDTH, HEIGHT = 96, 72
CLIP_FRAMES = 320
WARM_UP = 0.5
"""The part of the run in which memory may grow: until the log of results is full. It keeps 10,000
frames, half of a run as asked for."""

ROLES = ("driver", "detect", "track", "decode", "redis", "ray")
COLUMNS = ("seconds", "frames", *(f"{role}_mb" for role in ROLES), "redis_data_mb", "objects_mb")
MB = 2**20


def memory_by_role(pids: dict[str, list[int]]) -> dict[str, float]:
    """Resident memory of this process and all below it, MB; shared memory counts where it is."""
    found = dict.fromkeys(ROLES, 0.0)
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            rss = process.memory_info().rss / MB
            found[_role(process, pids)] += rss
        except psutil.NoSuchProcess:
            continue
    return found


def _role(process: psutil.Process, pids: dict[str, list[int]]) -> str:
    if process.pid == psutil.Process().pid:
        return "driver"
    for name, of_role in pids.items():
        if process.pid in of_role:
            return name
    title = " ".join(process.cmdline())
    if "DecodeWorker" in title:
        return "decode"
    return "redis" if "valkey" in title or "redis" in title else "ray"


def object_store_mb() -> float:
    """What lies in Ray's object store now, MB."""
    name = "object_store_memory"
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return (total[name] - free.get(name, 0.0)) / MB


def soak(num_frames: int, every_s: float) -> list[dict[str, float]]:
    """Run, and sample."""
    rows: list[dict[str, float]] = []
    store = open_store()
    if store.url is None:
        raise StoreError("this store has no address; the soak looks at a Redis server's memory")
    raw = redis.Redis.from_url(store.url)
    with (
        tempfile.TemporaryDirectory() as folder,
        Runtime(store, RuntimeConfig(object_store_bytes=300 * MB)) as runtime,
    ):
        clip = write_clip(Path(folder) / "clip.mp4", CLIP_FRAMES, WIDTH, HEIGHT, coming_and_going)
        pids = runtime.worker_pids()
        client = Client(store)
        request = {"type": "start_session", "resource_path": str(clip), "autostart": True,
                   "loop": True, "latency": "live"}  # fmt: skip
        session_id: str = client.handle_request(request)["session_id"]
        for text in TEXTS:
            client.handle_request({"type": "add_prompt", "session_id": session_id,
                                   "frame_index": 0, "text": text})  # fmt: skip
        began, sampled, cursor = time.monotonic(), -every_s, 0
        while cursor < num_frames:
            page = store.read_results(session_id, cursor, timeout_s=30.0)
            cursor = page.cursor
            now = time.monotonic() - began
            if now - sampled >= every_s:
                sampled = now
                info: Any = raw.info("memory")
                row = {"seconds": round(now, 1), "frames": float(cursor)}
                row |= {f"{k}_mb": round(v, 1) for k, v in memory_by_role(pids).items()}
                row["redis_data_mb"] = round(info["used_memory"] / MB, 2)
                row["objects_mb"] = round(object_store_mb(), 2)
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
        record = store.get_session(session_id)
        print(f"{record.counters} {record.stats}", file=sys.stderr)
        client.handle_request({"type": "close_session", "session_id": session_id})
    raw.close()
    store.close()
    return rows


def growth(rows: list[dict[str, float]]) -> dict[str, float]:
    """MB by which each has grown from the end of the warm-up to the end of the run."""
    after = [row for row in rows if row["frames"] >= WARM_UP * rows[-1]["frames"]]
    third = max(1, len(after) // 3)
    return {
        name: round(
            sum(row[name] for row in after[-third:]) / third
            - sum(row[name] for row in after[:third]) / third,
            1,
        )
        for name in COLUMNS[2:]
    }


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """One line for each column over the number of frames, each scaled to its own maximum."""
    width, height, margin = 1000, 90, 60
    names = COLUMNS[2:]
    picture = Image.new("RGB", (width, height * len(names) + 30), "white")
    draw = ImageDraw.Draw(picture)
    last = rows[-1]["frames"] or 1.0
    for number, name in enumerate(names):
        top = number * height + 15
        most = max(max(row[name] for row in rows), 0.1)
        draw.rectangle((margin, top, width - 20, top + height - 25), outline="#cccccc")
        points = [
            (
                margin + (width - 20 - margin) * row["frames"] / last,
                top + (height - 25) * (1 - 0.9 * row[name] / most),
            )
            for row in rows
        ]
        if len(points) > 1:
            draw.line(points, fill="#2050c0", width=2)
        draw.text((margin, top - 13), name.replace("_", " "), fill="black")
        draw.text((5, top), f"{most:.1f}", fill="black")
    draw.text((width - 120, picture.height - 14), f"{last:,.0f} frames", fill="black")
    picture.save(path)


def main() -> None:
    """Run, write and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--every-s", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=OUTPUT)
    given = parser.parse_args()
    rows = soak(given.frames, given.every_s)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "soak.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, given.out / "soak.png")
    print("grown since the warm-up, MB:", growth(rows))


if __name__ == "__main__":
    main()
