"""The runtime beside the in-process segmenter: speed, latency, many sessions, start-up.

    python -m benchmarks.runtime [--quick] [--section …] [--frames N] [--rounds N]

Writes a table to ``benchmarks/output/`` beside the same numbers as JSON, and prints it. How to
read it is said in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
import torch

from benchmarks.clip import steady, texts, write_clip
from benchmarks.measure import surroundings
from benchmarks.model import OUTPUT, table
from maskstream.detector.frames import DetectedFrame, FrameDetector
from maskstream.pipeline.api.frame_codec import encode_frame
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.runtime import Runtime, RuntimeConfig
from maskstream.pipeline.sources import Frame, open_source
from maskstream.pipeline.store import SessionStore, open_store
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter, stamp_of
from maskstream.pipeline.video.tracking import SessionTracking, detection_rules
from maskstream.workers.messages import PackedAnswer

WIDTH, HEIGHT = 320, 240
SECTIONS = ("speed", "hand_over", "latency", "prompts", "sessions", "start_up")
Row = dict[str, Any]


@contextmanager
def serving(**options: Any) -> Iterator[tuple[Runtime, SessionStore]]:
    """A runtime on an embedded store."""
    store = open_store()
    try:
        config = RuntimeConfig(object_store_bytes=500 * 2**20, **options)
        with Runtime(store, config) as runtime:
            yield runtime, store
    finally:
        store.close()


def start(client: Client, clip: Path, concepts: list[str], **options: Any) -> str:
    """A session with concepts, ready to run."""
    request = {"type": "start_session", "resource_path": str(clip), **options}
    session_id: str = client.handle_request(request)["session_id"]
    for text in concepts:
        client.handle_request(
            {"type": "add_prompt", "session_id": session_id, "frame_index": 0, "text": text}
        )
    return session_id


def propagate(client: Client, session_id: str) -> int:
    """Run to the end; the number of frames."""
    request = {"type": "propagate_in_video", "session_id": session_id}
    request["propagation_direction"] = "forward"
    return sum(1 for _ in client.handle_stream_request(request))


def close(client: Client, session_id: str) -> None:
    """End a session."""
    client.handle_request({"type": "close_session", "session_id": session_id})


def seconds(function: Callable[..., object], *arguments: object) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def processor_s() -> float:
    """Processor time of this process and all below it so far."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


# Speed on one file


def speed(clip: Path, num_frames: int, num_rounds: int) -> Iterator[Row]:
    """In turns, so that both see the same machine."""
    concepts = texts(2)
    model = VideoModel.from_checkpoint("tiny", device="cpu")

    def in_process(num_threads: int) -> float:
        torch.set_num_threads(num_threads)
        segmenter = VideoSegmenter(model)
        for text in concepts:
            segmenter.add_concept(text)
        with open_source(clip) as source:
            return seconds(lambda: [result.rles for result in segmenter.run(source)])

    times: dict[str, list[float]] = {"1 thread": [], "2 threads": [], "runtime": []}
    processor: dict[str, list[float]] = {name: [] for name in times}

    def note(name: str, function: Callable[..., float], *arguments: object) -> None:
        before = processor_s()
        times[name].append(function(*arguments))
        processor[name].append(processor_s() - before)

    with serving() as (_, store):
        client = Client(store)
        session_id = start(client, clip, concepts)
        propagate(client, session_id)  # warm
        for _ in range(num_rounds):
            note("1 thread", in_process, 1)
            note("2 threads", in_process, 2)
            torch.set_num_threads(1)
            note("runtime", seconds, propagate, client, session_id)
        close(client, session_id)
    best = [min(a, b) for a, b in zip(times["1 thread"], times["2 threads"], strict=True)]
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(best, taken, strict=True)]
        yield {
            "system": name if name == "runtime" else f"in process, {name}",
            "fps": round(num_frames / statistics.median(taken), 1),
            "of_the_best_in_process": round(statistics.median(ratios), 2),
            "processor_ms_per_frame": round(
                1000 * statistics.median(processor[name]) / num_frames, 1
            ),
        }


def parts(clip: Path, num_frames: int) -> Iterator[Row]:
    """What a frame's parts take in one thread, and its hand-over through the object store."""
    torch.set_num_threads(1)
    model = VideoModel.from_checkpoint("tiny", device="cpu")
    rules = detection_rules(model.config, None)
    tracking = SessionTracking(model.tracker, model.config, latency="live")
    for text in texts(2):
        tracking.add_concept(text)
    detector = FrameDetector(model.detector)
    took: dict[str, list[float]] = {}

    def timed(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        value = function(*arguments)
        took.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        return value

    sizes: dict[str, int] = {}
    with serving() as _, open_source(clip) as source:
        frames = source.iterate(0)
        for _ in range(num_frames):
            frame = timed("decode", next, frames)
            image = timed("picture: put and get", _through_ray, frame.image)
            features = timed("encode", detector.encode, [image])
            found = timed("detect", detector.detect, features, tracking.concepts, rules)
            answer = DetectedFrame(features.tracker_features(0), found)
            packed = timed("answer: pack", PackedAnswer.of, answer)
            back = timed("answer: put and get", _through_ray, packed)
            timed("answer: unpack", back.unpack, torch.device("cpu"))
            sizes = {"picture": frame.image.nbytes, "answer": _num_bytes(packed)}
            [result] = timed("track", tracking.step, stamp_of(frame), answer.features, found)
            timed("masks as run lengths", result.to_record)
    for name, times in took.items():
        kilobytes = sizes.get(name.partition(":")[0])
        yield {
            "part": name,
            "ms": round(statistics.median(times[num_frames // 3 :]), 2),
            "kilobytes": None if kilobytes is None else round(kilobytes / 1000),
        }


def _through_ray(value: Any) -> Any:
    return ray.get(ray.put(value))


def _num_bytes(packed: PackedAnswer) -> int:
    return sum(part.array.nbytes for part in (*packed.levels, *packed.detections))


# Latency


def latency(num_frames: int, fps: float) -> Iterator[Row]:
    """A client pushes frames at a fixed rate and waits for each one's result."""
    torch.set_num_threads(1)
    model = VideoModel.from_checkpoint("tiny", device="cpu")
    segmenter = VideoSegmenter(model, latency="live")
    for text in texts(2):
        segmenter.add_concept(text)
    pictures = [steady(index, WIDTH, HEIGHT) for index in range(num_frames)]
    alone = [
        1000 * seconds(segmenter.step, Frame(index, None, picture))
        for index, picture in enumerate(pictures)
    ]
    with serving() as (_, store):
        client = Client(store)
        request = {"type": "start_session", "resource_path": "pushed://", "latency": "live"}
        session_id = client.handle_request(request)["session_id"]
        for text in texts(2):
            client.handle_request({"type": "add_prompt", "session_id": session_id,
                                   "frame_index": 0, "text": text})  # fmt: skip
        through, cursor = [], 0
        for index, picture in enumerate(pictures):
            began = time.perf_counter()
            store.push_frame(session_id, encode_frame(picture), index / fps)
            while cursor <= index:
                cursor = store.read_results(session_id, cursor, timeout_s=10).cursor
            through.append(1000 * (time.perf_counter() - began))
            time.sleep(max(0.0, 1 / fps - (time.perf_counter() - began)))
        close(client, session_id)
    skip = num_frames // 4
    added = [a - b for a, b in zip(through[skip:], alone[skip:], strict=True)]
    for name, times in (
        ("step in process", alone[skip:]),
        ("pushed until its result is read", through[skip:]),
        ("added", added),
    ):
        yield {
            "latency": name,
            **{f"p{part}_ms": round(float(np.percentile(times, part)), 1) for part in (50, 95, 99)},
        }


def prompts(clip: Path, num_rounds: int) -> Iterator[Row]:
    """From asking to the first mask."""
    with serving() as (_, store):
        client = Client(store)
        session_id = start(client, clip, [])
        answers, streams = [], []
        for index in range(num_rounds):
            request = {"type": "add_prompt", "session_id": session_id, "frame_index": index,
                       "text": texts(2)[index % 2]}  # fmt: skip
            answers.append(seconds(client.handle_request, request))
            began = time.perf_counter()
            for _ in client.handle_stream_request(
                {"type": "propagate_in_video", "session_id": session_id,
                 "propagation_direction": "forward", "max_frame_num_to_track": 0}
            ):  # fmt: skip
                streams.append(time.perf_counter() - began)
            client.handle_request({"type": "reset_session", "session_id": session_id})
        close(client, session_id)
    for name, times in (("prompt to its masks", answers), ("one frame's run", streams)):
        yield {"what": name, "median_ms": round(1000 * statistics.median(times[2:]), 1)}


# Many sessions


def sessions(clip: Path, num_frames: int, counts: list[int], concepts: list[int]) -> Iterator[Row]:
    """All at once, each in its client's thread."""
    with serving() as (_, store):
        for num_concepts in concepts:
            for count in counts:
                client = Client(store)
                ids = [start(client, clip, texts(num_concepts)) for _ in range(count)]
                threads = [
                    threading.Thread(target=propagate, args=(client, session_id))
                    for session_id in ids
                ]
                began = time.perf_counter()
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                taken = time.perf_counter() - began
                for session_id in ids:
                    close(client, session_id)
                yield {
                    "sessions": count,
                    "concepts": num_concepts,
                    "fps_of_all": round(count * num_frames / taken, 1),
                    "fps_of_each": round(num_frames / taken, 1),
                }


def start_up(clip: Path) -> Iterator[Row]:
    """From nothing to the first result."""
    began = time.perf_counter()
    store = open_store()
    with Runtime(store, RuntimeConfig(object_store_bytes=500 * 2**20)):
        yield {"until": "workers are ready", "s": round(time.perf_counter() - began, 2)}
        client = Client(store)
        session_id = start(client, clip, texts(1))
        yield {"until": "a prompt's masks", "s": round(time.perf_counter() - began, 2)}
        close(client, session_id)
        again = time.perf_counter()
        start(client, clip, texts(1))
        yield {
            "until": "a prompt's masks in another session, from its start",
            "s": round(time.perf_counter() - again, 2),
        }
    store.close()


TITLES = {
    "speed": "One file, two concepts, five objects",
    "hand_over": "Parts of a frame, one thread, and what is handed over",
    "latency": "A frame pushed by a client, until its result is read",
    "prompts": "Prompts in a session that is idle",
    "sessions": "Sessions at once",
    "start_up": "Start-up",
}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run the sections asked for."""
    num_frames = given.frames or (60 if given.quick else 300)
    results: dict[str, Any] = surroundings(torch.device("cpu"), torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", num_frames, WIDTH, HEIGHT)
        short = write_clip(Path(folder) / "short.mp4", num_frames // 3, WIDTH, HEIGHT)
        counts = [1, 8] if given.quick else [1, 2, 4, 8]
        run: dict[str, Callable[[], Iterator[Row]]] = {
            "speed": lambda: speed(clip, num_frames, given.rounds or (1 if given.quick else 5)),
            "hand_over": lambda: parts(clip, num_frames // 2),
            "latency": lambda: latency(num_frames, 5.0),
            "prompts": lambda: prompts(clip, 8 if given.quick else 30),
            "sessions": lambda: sessions(
                short, num_frames // 3, counts, [1, 4] if given.quick else [1, 4, 16]
            ),
            "start_up": lambda: start_up(clip),
        }
        for name in given.section:
            results[name] = []
            for row in run[name]():
                print(f"{name}: {row}", file=sys.stderr, flush=True)
                results[name].append(row)
    return results


def report(results: dict[str, Any]) -> str:
    """The tables with what was measured where."""
    facts = {key: value for key, value in results.items() if key not in SECTIONS}
    lines = [", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())]
    lines += [f"### {TITLES[name]}\n\n{table(results[name])}" for name in SECTIONS
              if results.get(name)]  # fmt: skip
    return "\n\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime")
    parser.add_argument("--section", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="few rounds, short clips")
    parser.add_argument("--frames", type=int, help="of the clip; of `sessions`, a third of them")
    parser.add_argument("--rounds", type=int, help="of `speed`")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    given = parser.parse_args()
    results = measure(given)
    text = report(results)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "runtime.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (given.out / "runtime.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
