"""Sessions on a stream that shows the scene, and what must hold of all of them at their end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskstream.pipeline.api.commands import AddConcept, Cancel
from maskstream.pipeline.store import ResultEntry, SessionState, SessionStore
from tests.integration.serving import LONG_S, Served, check_account
from tests.machine import Stopwatch
from tests.pipeline import scene
from tests.pipeline.clips import write_clip

FPS = 6
NUM_FRAMES = 10


def write_stream(path: Path, *, fps: int = FPS, every: int = 1, **options: str) -> Path:
    """The scene's first ten frames as a server plays them, again and again.

    Args:
        fps: frames a second; the tracker of a test's runtime follows six of them.
        every: of each row and column only so many-th pixels.
        options: of the encoder.
    """
    images = [scene.image(index)[::every, ::every] for index in range(NUM_FRAMES)]
    return write_clip(path, images, fps=fps, options={"bf": "0", "g": "5", "crf": "10"} | options)


def ids_of(entry: ResultEntry) -> set[int]:
    return {one["obj_id"] for one in entry.record["objects"]}


def has_objects(entry: ResultEntry) -> bool:
    return entry.kind == "frame" and bool(entry.record["objects"])


def start_stream(store: SessionStore, url: str, name: str, **options: Any) -> tuple[Served, int]:
    """A session on a stream that follows the circle, and the circle's id."""
    served = Served.start(store, url, name, latency="live", **options)
    served.do(AddConcept(text="red circle"))
    first = served.read_until(has_objects)[-1].step
    served.read_until(lambda entry: entry.step > first + 3)
    return served, min(ids_of(served.entries[-1]))


def resumed_after_s(
    served: Served, returned_s: float, condition: Callable[[ResultEntry], bool] = lambda _: True
) -> float:
    """Read up to the first frame that was taken after the server's return.

    Args:
        returned_s: wall-clock time of the return.
        condition: what is told of the frame besides.

    Returns:
        Seconds from the return until its result was read, as a ``Stopwatch`` tells them.
    """
    with Stopwatch() as watch:
        served.read_until(lambda entry: entry.wall_s > returned_s and condition(entry))
    return watch.seconds


def wait_for_fault(store: SessionStore, session_id: str, *kinds: str) -> str:
    """Wait until a session waits for its source, for one of these kinds of faults; tells it."""
    deadline = time.monotonic() + LONG_S
    while True:
        stats = store.get_session(session_id).stats
        fault = str(stats.get("last_fault", ""))
        if fault.startswith(kinds) and stats["source_state"] in ("waiting", "connecting"):
            return fault
        assert time.monotonic() < deadline, stats
        time.sleep(0.02)


def end_stream(served: Served) -> None:
    """Cancel it; everything adds up: frames, and results each once and in order."""
    served.ask(Cancel())
    end = served.read_until(lambda entry: entry.kind == "end")[-1]
    assert end.record["reason"] == "cancelled"
    served.wait_for(SessionState.ENDED)
    check_account(served)
    counters = served.store.get_session(served.session_id).counters
    assert counters.decoded == counters.processed + counters.num_dropped
    steps = [entry.step for entry in served.entries]
    assert steps == sorted(set(steps))
    numbers = [entry.frame_index for entry in served.entries if entry.kind == "frame"]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == counters.processed
    # A number that is missing is that of a frame that was dropped and counted.
    assert numbers[-1] + 1 - len(numbers) <= counters.num_dropped
