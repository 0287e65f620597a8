"""Building an index of an archive: frames a second, listing, going on from records.

    python -m benchmarks.archive_build [--section NAME …] [--frames N] [--videos N]

``speed``: the indexer beside a plain loop with the in-process segmenter over the same files, one
process and one torch thread each, in turns. ``workers``: the same files by one and by two workers
on Ray, start included. ``resume``: plans a build whose index is finished, of 1,000 videos with ten
chunks each, and of ``--videos`` with ten each: what is listed are files that exist, what is read
are manifests as a build writes them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.clip import steady, texts, write_clip
from benchmarks.measure import clocked, resident_mb, surroundings
from benchmarks.model import OUTPUT, collect, table
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import (
    FileEntry,
    Fingerprint,
    IndexHead,
    IndexSettings,
    VideoManifest,
    pass_key,
    video_id_of,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.building import build_index
from maskstream.pipeline.archive.indexing.pool import InProcessPool
from maskstream.pipeline.archive.indexing.ray_pool import RayPool, RayPoolConfig
from maskstream.pipeline.archive.indexing.tools import ModelTools
from maskstream.pipeline.archive.plan.listing import list_archives
from maskstream.pipeline.archive.plan.planning import Planner
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter

SETTINGS = IndexSettings(checkpoint="0" * 64, chunk_s=2.0)
HEAD = IndexHead(created_by="benchmark", checkpoint_name="tiny", settings=SETTINGS)
WIDTH, HEIGHT = 320, 240
CHUNKS_A_VIDEO = 10


def write_videos(folder: Path, num_videos: int, num_frames: int) -> Path:
    """Videos with five shapes each."""
    folder.mkdir()
    for number in range(num_videos):
        write_clip(folder / f"{number}.mp4", num_frames, WIDTH, HEIGHT, steady)
    return folder


def speed(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each way to index."""
    videos = write_videos(folder / "speed", 4, given.frames)
    model = VideoModel.from_checkpoint("tiny", device="cpu")
    device = torch.device("cpu")
    rounds: list[dict[str, tuple[float, float]]] = []
    for number in range(given.rounds):
        rounds.append({"plain loop": clocked(lambda: plain_loop(model, videos), device)})
        for in_hand in (1, 4):
            index = folder / f"index-{number}-{in_hand}"
            took = clocked(lambda: in_process(model, videos, index, in_hand), device)  # noqa: B023
            rounds[-1][f"indexer, {in_hand} in hand"] = took
    num_frames = 4 * given.frames
    for name in rounds[0]:
        wall = statistics.median(one[name][0] for one in rounds)
        processor = [one["plain loop"][1] / one[name][1] for one in rounds]
        yield {
            "system": name,
            "frames_a_second": round(1e3 * num_frames / wall, 2),
            "of_plain_loop": round(
                statistics.median(one["plain loop"][0] / one[name][0] for one in rounds), 3
            ),
            "by_processor_time": round(statistics.median(processor), 3),
        }


def plain_loop(model: VideoModel, videos: Path) -> None:
    """Segment each file, masks as run-length codes, as somebody would who writes them down."""
    for path in sorted(videos.iterdir()):
        segmenter = VideoSegmenter(model)
        for text in texts(2):
            segmenter.add_concept(text)
        with open_source(path) as source:
            for result in segmenter.run(source):
                _ = result.rles


def in_process(model: VideoModel, videos: Path, index: Path, in_hand: int) -> None:
    """The indexer in this process."""
    storage, tools = Storage(str(index)), ModelTools(model, None)
    build_index(
        [str(videos)],
        texts(2),
        storage,
        HEAD,
        load=lambda: tools,
        open_pool=lambda tell, must_stop: InProcessPool(
            SETTINGS, storage, tools, in_hand=in_hand, tell=tell, must_stop=must_stop
        ),
    )


def workers(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each number of workers."""
    videos = write_videos(folder / "workers", 4, given.frames)
    how = {"checkpoint": "tiny", "device": "cpu", "dtype": "float32", "score_threshold": None}
    tools = ModelTools(VideoModel.from_checkpoint("tiny", device="cpu"), None)
    for num_workers in (1, 2):
        storage = Storage(str(folder / f"index-of-{num_workers}"))
        config = RayPoolConfig(num_workers=num_workers, options=how)
        begun_s = time.monotonic()
        first_s: list[float] = []
        build_index(
            [str(videos)],
            texts(2),
            storage,
            HEAD,
            load=lambda: tools,
            open_pool=lambda tell, must_stop: RayPool(
                SETTINGS,
                storage,  # noqa: B023
                config,  # noqa: B023
                tell=lambda chunk: first_s.append(time.monotonic()),  # noqa: B023
                must_stop=must_stop,
            ),
        )
        ended_s = time.monotonic()
        yield {
            "workers": num_workers,
            "seconds": round(ended_s - begun_s, 1),
            "to_first_chunk_s": round(first_s[0] - begun_s, 1),
            "frames_a_second": round(4 * given.frames / (ended_s - begun_s), 2),
        }


def resume(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each size of a finished index."""
    for num_videos in (1000, given.videos):
        archive, index = folder / f"archive-{num_videos}", folder / f"finished-{num_videos}"
        storage = Storage(str(index))
        simulate(archive, storage, num_videos)
        before_mb, begun_s = resident_mb(), time.monotonic()
        planner = Planner(storage, SETTINGS, ["red circle"])
        num_jobs = sum(1 for _ in planner.plan(list_archives([str(archive)])))
        took_s = time.monotonic() - begun_s
        if num_jobs or planner.counts.indexed != num_videos:
            raise RuntimeError(f"{num_jobs} jobs, {planner.counts}")
        yield {
            "videos": num_videos,
            "chunks": num_videos * CHUNKS_A_VIDEO,
            "list_and_compare_s": round(took_s, 2),
            "more_memory_mb": round(resident_mb() - before_mb, 1),
        }


def simulate(archive: Path, storage: Storage, num_videos: int) -> None:
    """Files, and an index that says that they are indexed."""
    for number in range(num_videos):
        path = archive / f"{number // 1000:04d}" / f"{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
        status = path.stat()
        fingerprint = Fingerprint(
            size_bytes=status.st_size, modified_s=status.st_mtime, digest="0" * 64
        )
        key = pass_key(SETTINGS, ["red circle"], fingerprint)
        files = [f"{key}-p0-c{chunk:04d}-observations.parquet" for chunk in range(CHUNKS_A_VIDEO)]
        files += [f"{key}-{name}.parquet" for name in ("videos", "tracks", "shots")]
        manifest = VideoManifest(
            video_id=video_id_of(str(path)),
            pass_key=key,
            source=str(path),
            fingerprint=fingerprint,
            concepts=["red circle"],
            files=[
                FileEntry(name=name, table="observations", size_bytes=1, sha256="0" * 64)
                for name in files
            ],
            num_frames=1000,
        )
        storage.write(layout.manifest(manifest.video_id, key), manifest.to_bytes())


SECTIONS = {"speed": speed, "workers": workers, "resume": resume}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive_build")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="default: all")
    parser.add_argument("--frames", type=int, default=60, help="of each of four videos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=OUTPUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = []
    for name in given.section or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            rows = collect(name, SECTIONS[name](Path(folder), given))
        parts.append(f"## {name}\n\n{table(rows)}\n")
        print(parts[-1], file=sys.stderr)
    facts = surroundings(torch.device("cpu"), torch.float32)
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    text += "\n\n" + "\n".join(parts)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "archive_build.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
