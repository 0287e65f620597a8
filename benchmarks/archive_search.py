"""Searching an index: what a query takes, warm and cold.

    python -m benchmarks.archive_search [--videos N] [--new N] [--queries N] [--index FOLDER]

The index is made up (``tests/pipeline/archive/synthetic.py``): 20 masklets a video with 50
observations each. All but ``--new`` of its videos are compacted, by a compaction that is measured,
too. ``queries``: concept, time and duration, drawn at random, and each other kind of question.
``whole``: opening, refreshing, the first answer of a new process, memory, bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.measure import surroundings
from benchmarks.model import OUTPUT, collect, table
from maskstream.pipeline.archive.compaction import compact
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import (
    CatalogueRecord,
    FileEntry,
    Fingerprint,
    VideoManifest,
    pass_key,
    video_id_of,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import PASSES, TableName
from maskstream.pipeline.archive.search import Index
from tests.pipeline.archive.synthetic import (
    BEGAN,
    SETTINGS,
    Made,
    add_videos,
    create,
    tables_of,
    write_table,
)

CONCEPTS = ("dog", "red car", "person", "cat", "bicycle", "bus", "hat", "ball", "tree", "boat")
MADE = Made(concepts=CONCEPTS, num_masklets=20, max_frames=99, num_frames=2000, missing=0.0)
LENGTH_S = MADE.num_frames / MADE.fps
BATCH = 500
"""Videos of a file, before they are merged."""
SQUARE = [(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)]
REPEATS = 7

_PROGRAM = """
import sys
from maskstream import Index
with Index(sys.argv[1]) as index:
    index.search("dog", after_s=20, before_s=60, min_duration_s=3)
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            print(line.split()[1])
"""

Fields = dict[str, Any]


def write_index(folder: Path, num_videos: int, num_new: int) -> Iterator[Fields]:
    """Make the index; a row for each step that says something about the code."""
    storage = create(str(folder), CONCEPTS)
    old = range(num_videos - num_new - 1)  # and one that compacting has to add
    files: list[FileEntry] = []
    for first in range(0, len(old), BATCH):
        files += _write_batch(storage, old[first : first + BATCH])
    _write_record(storage, files, len(old))
    add_videos(storage, [len(old)], MADE)
    began_s = time.perf_counter()
    done = compact(storage.url, grace_s=0)
    yield {
        "step": f"merging {len(old) + 1:,} videos",
        "seconds": round(time.perf_counter() - began_s, 1),
        "what": f"{done.num_bytes / 2**20:,.0f} MB in {done.num_files} files",
    }
    add_videos(storage, range(len(old) + 1, num_videos), MADE)


def _write_batch(storage: Storage, numbers: range) -> list[FileEntry]:
    """The rows of some videos in one file of each table, and their manifests."""
    rows: dict[TableName, list[pa.Table]] = {}
    for number in numbers:
        source = _source(number)
        fingerprint = Fingerprint(size_bytes=1000 + number)
        key = pass_key(SETTINGS, list(CONCEPTS), fingerprint)
        for name, part in tables_of(number, MADE, source, key).items():
            rows.setdefault(name, []).append(part)
        manifest = VideoManifest(
            video_id=video_id_of(source),
            pass_key=key,
            source=source,
            fingerprint=fingerprint,
            concepts=list(CONCEPTS),
            last_object_id=MADE.num_masklets - 1,
            files=[],
            num_frames=MADE.num_frames,
        )
        storage.write(layout.manifest(manifest.video_id, key), manifest.to_bytes())
    entries = []
    for name, parts in rows.items():
        path = layout.catalogue_table(1, name, numbers[0] // BATCH)
        entry = write_table(storage, path, pa.concat_tables(parts), name)
        entries.append(entry.model_copy(update={"name": path}))
    return entries


def _write_record(storage: Storage, files: list[FileEntry], num_videos: int) -> None:
    """A catalogue whose files are still to be merged."""
    rows = [
        {
            "video_id": video_id_of(_source(number)),
            "pass_key": pass_key(SETTINGS, list(CONCEPTS), Fingerprint(size_bytes=1000 + number)),
            "first_object_id": 0,
            "last_object_id": MADE.num_masklets - 1,
            "merged_at": datetime.now(UTC),
            "is_sole": True,
        }
        for number in range(num_videos)
    ]
    path = layout.catalogue_passes(1)
    buffer = io.BytesIO()
    rows.sort(key=lambda row: (row["video_id"], row["pass_key"]))
    pq.write_table(pa.Table.from_pylist(rows, schema=PASSES), buffer)
    content = buffer.getvalue()
    storage.write(path, content)
    passes = FileEntry(
        name=path,
        table=None,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        num_rows=len(rows),
    )
    record = CatalogueRecord(number=1, files=files, passes=passes)
    storage.write(layout.catalogue_head(1), record.to_bytes())


def queries(index: Index, given: argparse.Namespace) -> Iterator[Fields]:
    """A row for each kind of question, the one of the aim first."""
    draw = random.Random(1)
    yield _timed(index, "concept, time, duration", lambda: _plain(draw), given.queries)
    for name, fields in _kinds().items():
        yield _timed(index, name, lambda: fields, REPEATS)  # noqa: B023


def _plain(draw: random.Random) -> Fields:
    after_s = draw.uniform(0, LENGTH_S)
    return {
        "concept": draw.choice(CONCEPTS),
        "after_s": after_s,
        "before_s": after_s + draw.uniform(1, 60),
        "min_duration_s": draw.uniform(0, 8),
    }


def _kinds() -> dict[str, Fields]:
    since = BEGAN + timedelta(days=60)
    night = {"daily_from": "22:00", "daily_until": "06:00", "time_zone": "Europe/Vienna"}
    entered = {"polygon": SQUARE, "relation": "entered"}
    stayed = {"polygon": SQUARE, "relation": "stayed", "for_s": 2}
    moment = {"after_s": 20, "before_s": 21}
    return {
        "concept, a month": {"concept": "dog", "since": since, "until": since + timedelta(days=30)},
        "concept at night": {"concept": "dog", **night},
        "score, size, largest first": {
            "concept": "dog", "min_score": 0.6, "min_area": 0.02, "order": "area"
        },
        "direction": {"concept": "dog", "direction": "left", "min_move": 0.1},
        "within 2 s of another": {
            "concept": "dog", "beside": [{"concept": "red car", "within_s": 2}]
        },
        "and none of another": {"concept": "dog", "without": [{"concept": "person"}]},
        "one video": {"concept": "dog", "videos": ["000123.mp4"]},
        "all concepts, long": {"min_duration_s": 9},
        "region entered, one second": {"concept": "dog", **moment, "region": entered},
        "region, stayed 2 s": {"concept": "dog", "region": stayed},
        "three at once": {"concept": "dog", "min_at_once": 3},
        "region entered, all concepts": {"region": entered},
        "three at once, all concepts": {"min_at_once": 3},
    }  # fmt: skip


def _timed(index: Index, name: str, make: Callable[[], Fields], num_queries: int) -> Fields:
    """The first page of a question's answer, after one that is not counted."""
    index.search(make())
    times = []
    for _ in range(num_queries):
        fields = make()
        began_s = time.perf_counter()
        index.search(fields)
        times.append(1e3 * (time.perf_counter() - began_s))
    times.sort()
    return {
        "question": name,
        "num": num_queries,
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(times[min(len(times) - 1, round(0.95 * len(times)))], 1),
        "largest_ms": round(times[-1], 1),
        "hits": index.count(fields),
    }


def whole(folder: Path) -> Iterator[Fields]:
    """Opening, refreshing, a cold process, memory and size."""
    began_s = time.perf_counter()
    index = Index(str(folder))
    yield {"what": "open", "value": f"{time.perf_counter() - began_s:.2f} s"}
    began_s = time.perf_counter()
    index.refresh()
    yield {"what": "refresh without news", "value": f"{time.perf_counter() - began_s:.3f} s"}
    began_s = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder)], check=True, capture_output=True, text=True
    )
    took_s = time.perf_counter() - began_s
    yield {"what": "a new process and its first answer", "value": f"{took_s:.2f} s"}
    yield {"what": "memory of that process", "value": f"{int(told.stdout) / 1024:,.0f} MB"}
    totals = index.sql(
        "SELECT count(*) AS tracks, sum(num_observations)::BIGINT AS observations, "
        "sum(duration_s) AS seconds FROM tracks"
    ).to_pylist()[0]
    num_tracks, num_observations, seconds = totals.values()
    yield {"what": "tracks", "value": f"{num_tracks:,}"}
    yield {"what": "observations", "value": f"{num_observations:,}"}
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    yield {"what": "bytes of an observation", "value": f"{num_bytes / num_observations:.1f}"}
    yield {
        "what": f"bytes of an object's hour at {MADE.fps:g} frames a second",
        "value": f"{num_bytes / seconds * 3600:,.0f}",
    }
    index.close()


def _source(number: int) -> str:
    return f"/archive/{number:06d}.mp4"


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive_search")
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--new", type=int, default=100, help="videos that are not compacted")
    parser.add_argument("--queries", type=int, default=200, help="of the kind that has an aim")
    parser.add_argument("--index", type=Path, help="one that an earlier run has made, or a place")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.index or Path(place) / "index"
        sections = {}
        if not (folder / layout.HEAD).exists():
            made = write_index(folder, given.videos, given.new)
            sections["making"] = collect("making", made)
        with Index(str(folder)) as index:
            sections["queries"] = collect("queries", queries(index, given))
        sections["whole"] = collect("whole", whole(folder))
    facts = surroundings(torch.device("cpu"), torch.float32)
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()) + "\n"
    for name, rows in sections.items():
        text += f"\n## {name}\n\n{table(rows)}\n"
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "archive_search.md"
    path.write_text(text, encoding="utf-8")
    print(text, f"saved to {path}", sep="\n")


if __name__ == "__main__":
    main()
