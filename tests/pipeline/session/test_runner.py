"""The session loop on a made-up model: what it publishes when something goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskstream.core.errors import ImageError, PromptError, SourceError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.local.threads import CONFIG
from maskstream.pipeline.store import MemoryStore, SessionLimits, SessionState
from tests.pipeline.clips import numbered_image, write_numbered_clip
from tests.pipeline.scripted import ScriptedDetection, ScriptedTracking, ServingLoop, serving

NUM_FRAMES = 20
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", NUM_FRAMES)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def loop(store: MemoryStore) -> Iterator[ServingLoop]:
    with serving(store, replace(CONFIG, frame_wait_s=0.3)) as loop:
        yield loop


def start(client: Client, source: Path | str, **fields: Any) -> str:
    request = {"type": "start_session", "resource_path": str(source), **fields}
    session_id: str = client.handle_request(request)["session_id"]
    return session_id


def ask(client: Client, kind: str, session_id: str, **fields: Any) -> dict[str, Any]:
    return client.handle_request({"type": kind, "session_id": session_id, **fields})


def stream(client: Client, kind: str, session_id: str, **fields: Any) -> Iterator[dict[str, Any]]:
    return client.handle_stream_request({"type": kind, "session_id": session_id, **fields})


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        time.sleep(0.005)


def fail_on(loop: ServingLoop, number: int) -> None:
    """Have detection fail on a picture, in all sessions that start from now on."""

    def prepare(tracking: ScriptedTracking, detection: ScriptedDetection) -> None:
        detection.bad_numbers.add(number)

    loop.tools.prepare = prepare


def test_a_frame_that_cannot_be_used_ends_the_run_and_not_the_session(
    store: MemoryStore, loop: ServingLoop, clip: Path
) -> None:
    """What was held back of the frames before it is published first."""
    fail_on(loop, 7)
    client = Client(store)
    session_id = start(client, clip)
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    seen = []
    with pytest.raises(ImageError, match="picture 7"):  # noqa: PT012 - the loop is what raises
        for answer in stream(client, "propagate_in_video", session_id):
            seen.append(answer["frame_index"])
    assert seen == list(range(7))
    session = ask(client, "get_session", session_id)
    assert (session["state"], session["frames"]["in_flight"]) == ("running", 0)
    behind = stream(client, "propagate_in_video", session_id, start_frame_index=8,
                    propagation_direction="forward")  # fmt: skip
    assert [answer["frame_index"] for answer in behind] == list(range(8, NUM_FRAMES))


def test_a_session_that_runs_by_itself_fails_with_that_after_its_results(
    store: MemoryStore, loop: ServingLoop, clip: Path
) -> None:
    fail_on(loop, 7)
    client = Client(store)
    session_id = start(client, clip, autostart=True)
    seen = []
    with pytest.raises(ImageError, match="picture 7"):  # noqa: PT012 - the loop is what raises
        for answer in stream(client, "stream_results", session_id):
            seen.append(answer["frame_index"])
    assert seen == list(range(7))
    record = store.wait_for_state(session_id, [SessionState.FAILED], DEADLINE_S)
    assert record.reason == "ImageError: picture 7 cannot be used"
    assert (record.counters.processed, record.counters.in_flight) == (7, 0)


def test_a_defect_of_the_program_ends_the_session_and_no_other(
    store: MemoryStore, loop: ServingLoop, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(tracking: ScriptedTracking, detection: ScriptedDetection) -> None:
        tracking.before_step = {}.__getitem__

    tracebacks: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", tracebacks.append)
    loop.tools.prepare = prepare
    client = Client(store)
    broken = start(client, "pushed://")
    ask(client, "push_frame", broken, frame=numbered_image(0))
    record = store.wait_for_state(broken, [SessionState.FAILED], DEADLINE_S)
    assert "defect of this program" in record.reason
    until(lambda: bool(tracebacks))
    assert tracebacks[0].exc_type is KeyError
    loop.tools.prepare = lambda *made: None
    sound = start(client, clip, autostart=True)
    assert len(list(stream(client, "stream_results", sound))) == NUM_FRAMES


def test_a_prompt_waits_for_a_frame_so_long_and_no_longer(
    store: MemoryStore, loop: ServingLoop
) -> None:
    client = Client(store)
    session_id = start(client, "pushed://")
    box = {"obj_id": 5, "bounding_boxes": [[0.1, 0.1, 0.2, 0.2]]}
    with pytest.raises(SourceError, match=r"no frame has come from the source for 0\.3 s"):
        ask(client, "add_prompt", session_id, frame_index=0, **box)
    with ThreadPoolExecutor(1) as pool:
        ask(client, "push_frame", session_id, frame=numbered_image(0), is_last=True)
        until(lambda: store.get_session(session_id).state.is_over)
        late = pool.submit(ask, client, "add_prompt", session_id, frame_index=0, **box)
        with pytest.raises(Exception, match="ended"):
            late.result(DEADLINE_S)


def test_the_source_ends_while_a_prompt_waits_for_a_frame(
    store: MemoryStore, loop: ServingLoop
) -> None:
    client = Client(store)
    session_id = start(client, "pushed://")
    with ThreadPoolExecutor(1) as pool:
        box = pool.submit(
            ask, client, "add_prompt", session_id, frame_index=0, obj_id=5,
            bounding_boxes=[[0.1, 0.1, 0.2, 0.2]],
        )  # fmt: skip
        until(lambda: store.get_session(session_id).journal_sequence == 1)
        ask(client, "push_frame", session_id, is_last=True)
        with pytest.raises(PromptError, match="there is no frame left"):
            box.result(DEADLINE_S)


def test_a_run_does_not_get_ahead_of_its_reader(store: MemoryStore, clip: Path) -> None:
    """Nothing is dropped unread, and a prompt does not come too late for the frames behind."""
    with serving(store, replace(CONFIG, max_unread=3)) as loop:
        client = Client(store)
        session_id = start(client, clip, latency="live")
        ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
        answers = stream(client, "propagate_in_video", session_id)
        assert next(answers)["frame_index"] == 0
        tracking = loop.tracking(session_id)
        until(lambda: len(tracking.seen) >= 3)
        ask(client, "add_prompt", session_id, frame_index=9, text="blue square")
        num_seen = len(tracking.seen)
        assert num_seen <= 5
        rest = list(answers)
    assert [one["frame_index"] for one in rest] == list(range(1, NUM_FRAMES))
    labels = [one["outputs"]["out_labels"] for one in rest]
    assert labels[num_seen:] == [["red circle", "blue square"]] * (NUM_FRAMES - 1 - num_seen)


def test_a_small_log_holds_a_run_of_any_length(store: MemoryStore, clip: Path) -> None:
    with serving(store):
        client = Client(store, limits=SessionLimits(max_results=4))
        session_id = start(client, clip, latency="live")
        ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
        seen = []
        for answer in stream(client, "propagate_in_video", session_id):
            seen.append(answer["frame_index"])
            time.sleep(0.002)  # a reader that is slower than the model
    assert seen == list(range(NUM_FRAMES))
