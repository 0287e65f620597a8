"""Eight sessions on one detect worker: each gets its turn, a ninth is refused, all is freed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from maskstream.core.errors import SessionLimitError
from maskstream.pipeline.api.commands import AddConcept, Propagate
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import ServiceLimits, SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.faults.killing import decoders, one_pid
from tests.integration.serving import (
    CONFIG,
    Served,
    assert_same,
    eventually,
    faster,
    play_prompts,
    running_runtime,
)
from tests.pipeline.store.servers import raw_client

NUM_SESSIONS = 8
NUM_FRAMES = 12
MB = 2**20


@pytest.fixture(scope="module")
def served_by() -> Iterator[tuple[Runtime, SessionStore]]:
    with running_runtime(faster(CONFIG, max_sessions=NUM_SESSIONS)) as both:
        both[1].set_service_limits(ServiceLimits(max_sessions=NUM_SESSIONS))
        yield both


def start_all(store: SessionStore, clip: Path, turn: int) -> list[Served]:
    sessions = [
        Served.start(store, clip, f"s{turn}-{number}", latency="live", owner=f"owner {number}")
        for number in range(NUM_SESSIONS)
    ]
    for served in sessions:
        served.do(AddConcept(text="red circle", frame_index=0))
    return sessions


def run_all(sessions: list[Served], num_frames: int = NUM_FRAMES) -> list[int]:
    """All at once to their ends; how far each was when the first was through."""
    command = Propagate(direction="forward", max_distance=num_frames - 1)
    for served, asked in [(served, served.ask(command)) for served in sessions]:
        served.cursor = served.outcome(asked).detail["cursor"]
    first = sessions[0]
    results = [first.read_run()]
    reached = [
        served.store.get_session(served.session_id).counters.processed for served in sessions
    ]
    results += [served.read_run() for served in sessions[1:]]
    for result in results[1:]:
        assert_same(result, results[0])
    return reached


def close_all(runtime: Runtime, sessions: list[Served]) -> None:
    """Close them; nothing of them is left, in the workers or in the store."""
    for served in sessions:
        served.close()
    eventually(lambda: not runtime.session_ids)
    eventually(lambda: not decoders())
    url = sessions[0].store.url
    assert url is not None
    keys = [key.decode() for key in raw_client(url).scan_iter()]
    assert [key for key in keys if any(key.endswith(one.session_id) for one in sessions)] == []


def stored_bytes(store: SessionStore) -> int:
    """What the server holds."""
    assert store.url is not None
    used: int = raw_client(store.url).info("memory")["used_memory"]
    return used


def test_eight_sessions(
    runtime: Runtime, store: SessionStore, clip: Path, model: VideoModel
) -> None:
    sessions = start_all(store, clip, 0)
    with pytest.raises(SessionLimitError, match="there are 8 open sessions, as many as are"):
        Served.start(store, clip, "ninth")
    reached = run_all(sessions)
    assert min(reached) >= NUM_FRAMES // 3, reached
    assert len(decoders()) == NUM_SESSIONS
    close_all(runtime, sessions)
    tracker, detector = (psutil.Process(one_pid(runtime, kind)) for kind in ("track", "detect"))
    before = [process.memory_full_info().uss for process in (tracker, detector)]
    stored = stored_bytes(store)
    again = start_all(store, clip, 1)
    run_all(again, 3)
    close_all(runtime, again)
    after = [process.memory_full_info().uss for process in (tracker, detector)]
    grown = [(b - a) / MB for a, b in zip(before, after, strict=True)]
    assert max(grown) < 40, grown
    assert stored_bytes(store) - stored < MB / 2
    # A place is free again.
    ninth = Served.start(store, clip, "ninth", latency="live")
    command = AddConcept(text="red circle", frame_index=0)
    ninth.do(command)
    assert_same(
        ninth.propagate(direction="forward", max_distance=2),
        play_prompts(model, clip, [(0, command)], latency="live", num_frames=3),
    )
