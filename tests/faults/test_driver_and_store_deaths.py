"""The driver is killed, and the Redis server: the session goes on, or says what became of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from maskstream.core.errors import SessionError, StoreError
from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionState, SessionStore, open_store
from maskstream.pipeline.video.model import VideoModel
from tests.faults.killing import kill, part_of_ray
from tests.faults.runtime_process import RuntimeProcess
from tests.integration.serving import (
    CONFIG,
    KEY,
    LONG_S,
    Served,
    assert_same,
    check_account,
    eventually,
    play_prompts,
    settled_prompts,
)
from tests.pipeline.store.servers import RedisServer, running

ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")


def finish(served: Served, clip: Path, model: VideoModel, num_prompts: int = 1) -> None:
    """Read to the end, and compare all of it with an unbroken run."""
    *entries, end = [*served.entries, *served.read_until(lambda entry: entry.kind == "end")]
    assert end.record["reason"] == "finished"
    served.wait_for(SessionState.ENDED)
    found = [FrameResult.from_record(entry.record) for entry in entries]
    prompts = settled_prompts(served)
    assert len(prompts) == num_prompts
    assert_same(found, play_prompts(model, clip, prompts))
    check_account(served)


def follow(store: SessionStore, session_id: str, **options: Any) -> list[int]:
    """The frames of a session as a client reads them, to the end."""
    request = {"type": "stream_results", "session_id": session_id}
    answers = Client(store, **options).handle_stream_request(request)
    return [answer["frame_index"] for answer in answers]


def check_has_given_up(process: RuntimeProcess, reason: str) -> None:
    """It exits with 1 and one line that says why."""
    code, errors = process.wait_for_end()
    assert code == 1
    [line] = errors
    assert f"this runtime can serve no more: {reason}; its sessions are free" in line


def test_another_runtime_goes_on_whatever_one_dies_of_and_readers_see_it(
    clip: Path, model: VideoModel
) -> None:
    store = open_store(secret_key=KEY)
    assert store.url is not None
    with RuntimeProcess(store.url) as first, ThreadPoolExecutor(1) as pool:
        served = Served.start(store, clip, "s", autostart=True)
        served.ask(AddConcept(text="red circle"))
        follower = pool.submit(follow, store, "s", takeover_timeout_s=LONG_S)
        served.reach(5)
        first.kill()
        sequence = served.ask(AddConcept(text="blue square"))  # taken while nobody serves
        with RuntimeProcess(store.url) as second:
            assert served.outcome(sequence).rejection is None
            served.reach(16)
            kill(part_of_ray("raylet", second.pid))
            check_has_given_up(second, "the raylet of this machine is gone")
        with RuntimeProcess(store.url) as third:
            finish(served, clip, model, num_prompts=2)
            assert store.get_session("s").writer == 3
            assert follower.result(LONG_S) == list(range(40))
            idle = Served.start(store, clip, "t")
            idle.do(AddConcept(text="red circle", frame_index=0))
            kill(part_of_ray("gcs_server", third.pid))
            check_has_given_up(third, "the GCS of Ray's cluster is gone")
            claim = store.get_claim("t")
            assert claim is not None
            assert claim.has_run_out
            # No other one comes: readers are told after a lease.
            killed_s = time.monotonic()
            with pytest.raises(SessionError, match="nobody serves session t any more: runtime"):
                follow(store, "t")
            assert time.monotonic() - killed_s > CONFIG.lease_s
    store.close()


def test_a_runtime_that_is_closed_leaves_its_sessions_to_the_next(
    clip: Path, model: VideoModel
) -> None:
    store = open_store(secret_key=KEY)
    with Runtime(store, CONFIG, secret_key=KEY):
        served = Served.start(store, clip, "s", autostart=True)
        served.ask(AddConcept(text="red circle"))
        served.reach(3)
    assert not ray.is_initialized()
    assert store.get_session("s").state == SessionState.RUNNING
    assert store.load_checkpoint("s") is not None
    with Runtime(store, CONFIG, secret_key=KEY):
        finish(served, clip, model)
    store.close()


def test_redis_with_persistence_is_killed_and_comes_back(
    clip: Path, model: VideoModel, tmp_path: Path
) -> None:
    with running(RedisServer(tmp_path, *ON_DISK)) as server:
        store = open_store(server.url, secret_key=KEY)
        with Runtime(store, CONFIG, secret_key=KEY):
            served = Served.start(store, clip, "s", autostart=True)
            served.ask(AddConcept(text="red circle"))
            for frame_index in (4, 12):
                served.reach(frame_index)
                server.kill()
                server.start()
            finish(served, clip, model)
        store.close()


def test_redis_without_persistence_is_told_of_and_survived(clip: Path, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, "--appendonly", "no")) as server:
        store = open_store(server.url, secret_key=KEY)
        with Runtime(store, CONFIG, secret_key=KEY) as runtime:
            served = Served.start(store, clip, "s", autostart=True)
            served.ask(AddConcept(text="red circle"))
            served.reach(4)
            server.kill()
            server.start()
            with pytest.raises(StoreError, match="has lost its data"):
                store.get_session("s")
            eventually(lambda: not runtime.session_ids)
            # A session that is started now is served, by the same runtime.
            again = Served.start(store, clip, "again")
            assert again.do(AddConcept(text="red circle", frame_index=0)).detail["prompt_id"] == 0
        store.close()
    assert not ray.is_initialized()
