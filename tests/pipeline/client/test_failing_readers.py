"""A reader that fails leaves the run as it is; one that stops on purpose has it cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskstream.core.errors import MaskstreamError, SessionError, StoreError
from maskstream.pipeline.api.outcomes import PropagateDetail
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.client.result_reader import run_entries
from maskstream.pipeline.local.threads import CONFIG
from maskstream.pipeline.store import MemoryStore, NewSession, ResultEntry, SessionState, open_store
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.frame_results import make_result
from tests.pipeline.scripted import ScriptedTracking, serving
from tests.pipeline.store.servers import RedisServer, eventually, running

NUM_FRAMES = 12
ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


def ask(client: Client, kind: str, session_id: str, **fields: Any) -> dict[str, Any]:
    return client.handle_request({"type": kind, "session_id": session_id, **fields})


def test_redis_is_away_for_longer_than_the_reader_waits(tmp_path: Path) -> None:
    """The run goes on, and another reader gets all of its frames."""
    clip = write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES)
    with (
        running(RedisServer(tmp_path, *ON_DISK)) as server,
        open_store(server.url) as store,
        serving(store) as loop,
        Client(server.url, retry_for_s=0.0) as client,
    ):
        start = {"type": "start_session", "resource_path": str(clip), "latency": "live"}
        session_id = client.handle_request(start)["session_id"]
        ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
        go_on = threading.Event()
        tracking: ScriptedTracking = loop.tracking(session_id)
        tracking.before_step = lambda number: None if number < 3 else _wait(go_on)
        stream = {"type": "propagate_in_video", "session_id": session_id}
        answers = client.handle_stream_request(stream)
        assert next(answers)["frame_index"] == 0
        server.kill()
        with pytest.raises(StoreError, match="no Redis server can be reached"):
            list(answers)
        server.start()
        go_on.set()
        frames: list[int] = []
        cursor = 0
        while len(frames) < NUM_FRAMES:
            page = ask(client, "get_results", session_id, cursor=cursor, timeout_s=10)
            assert page["cursor"] > cursor
            cursor = page["cursor"]
            frames += [answer["frame_index"] for answer in page["results"]]
        assert frames == list(range(NUM_FRAMES))
        assert "cancel" not in [entry.kind for entry in store.read_journal(session_id).entries]


def test_a_runtime_that_comes_after_its_readers_have_gone_finishes_the_run(
    store: MemoryStore, tmp_path: Path
) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES)
    config = replace(CONFIG, checkpoint_every_s=0.0)
    client = Client(store, takeover_timeout_s=0.1)
    with serving(store, config) as first:
        start = {"type": "start_session", "resource_path": str(clip), "latency": "live"}
        session_id = client.handle_request(start)["session_id"]
        ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
        tracking: ScriptedTracking = first.tracking(session_id)
        tracking.before_step = lambda number: None if number < 3 else _wait(first.is_left)
        request = {"type": "propagate_in_video", "session_id": session_id}
        answers = client.handle_stream_request(request)
        seen = [next(answers)["frame_index"] for _ in range(3)]
    store.release_claim(session_id, "test")
    with pytest.raises(SessionError, match="nobody serves"):  # noqa: PT012 - the loop is what raises
        for answer in answers:
            seen.append(answer["frame_index"])
    assert 3 <= len(seen) < NUM_FRAMES
    with serving(store, config):
        while len(seen) < NUM_FRAMES:
            page = ask(client, "get_results", session_id, cursor=len(seen), timeout_s=10)
            assert page["results"]
            seen += [one["frame_index"] for one in page["results"]]
    assert seen == list(range(NUM_FRAMES))
    assert "cancel" not in [entry.kind for entry in store.read_journal(session_id).entries]


def a_run(store: MemoryStore, record: dict[str, Any]) -> tuple[str, PropagateDetail]:
    """A session with one result of a run that has not ended, and where that run is."""
    session_id = store.create_session(NewSession(source="clip.mp4")).session_id
    store.transition(session_id, SessionState.RUNNING)
    entry = ResultEntry(frame_index=0, epoch=1, step=0, wall_s=time.time(), record=record)
    store.publish_result(session_id, entry)
    return session_id, PropagateDetail(cursor=0, epochs=(1, 1))


def stop_early(store: MemoryStore, session_id: str, entries: Any) -> None:
    next(entries)
    entries.close()


def interrupt(store: MemoryStore, session_id: str, entries: Any) -> None:
    next(entries)
    with pytest.raises(KeyboardInterrupt):
        entries.throw(KeyboardInterrupt())


def fail_to_read(store: MemoryStore, session_id: str, entries: Any) -> None:
    next(entries)
    with pytest.raises(StoreError):
        entries.throw(StoreError("the entry cannot be read"))


def outlive_the_session(store: MemoryStore, session_id: str, entries: Any) -> None:
    next(entries)
    store.transition(session_id, SessionState.FAILED, reason="gone")
    with pytest.raises(SessionError, match="is failed while it propagated"):
        next(entries)


def lose_the_session(store: MemoryStore, session_id: str, entries: Any) -> None:
    next(entries)
    store.delete_session(session_id)
    with pytest.raises(SessionError):
        next(entries)


def lose_the_runtime(store: MemoryStore, session_id: str, entries: Any) -> None:
    assert store.claim_session("a runtime", lease_s=0.1) == session_id
    next(entries)
    with pytest.raises(SessionError, match="nobody serves"):
        next(entries)


@pytest.mark.parametrize(
    ("read", "is_cancelled"),
    [
        (stop_early, True),
        (interrupt, True),
        (fail_to_read, False),
        (outlive_the_session, False),
        (lose_the_session, False),
        (lose_the_runtime, False),
    ],
)
def test_only_who_stops_on_purpose_cancels(
    store: MemoryStore, read: Callable[[MemoryStore, str, Any], None], is_cancelled: bool
) -> None:
    session_id, run = a_run(store, make_result(0, []).to_record())
    cancelled: list[bool] = []
    read(store, session_id, run_entries(store, session_id, run, lambda: cancelled.append(True)))
    assert cancelled == [True] * is_cancelled


def test_a_result_that_cannot_be_read_cancels_nothing(store: MemoryStore, tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES)
    with serving(store) as loop, Client(store) as client:
        start = {"type": "start_session", "resource_path": str(clip), "latency": "live"}
        session_id = client.handle_request(start)["session_id"]
        ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
        go_on = threading.Event()
        tracking: ScriptedTracking = loop.tracking(session_id)
        tracking.before_step = lambda number: _wait(go_on)
        request = {"type": "propagate_in_video", "session_id": session_id}
        answers = client.handle_stream_request(request)
        nonsense = ResultEntry(
            frame_index=0, epoch=1, step=0, wall_s=time.time(), record={"objects": 3}
        )
        store.publish_result(session_id, nonsense)
        with pytest.raises(MaskstreamError, match="cannot be read"):
            next(answers)
        go_on.set()
        assert eventually(lambda: store.get_session(session_id).result_sequence > NUM_FRAMES)
        assert "cancel" not in [entry.kind for entry in store.read_journal(session_id).entries]


def _wait(event: threading.Event) -> None:
    assert event.wait(20)
