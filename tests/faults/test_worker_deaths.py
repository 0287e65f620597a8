"""What must hold when a worker is killed in the middle of a session: same session, same ids, no
prompt lost, each frame's result once and in order, and, from a file, the very same results.

Processes are killed with SIGKILL, at moments that the log of results tells.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.commands import AddConcept, AddObject, Propagate, RemoveObject
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import NewSession, SessionState, SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.faults.killing import decoders, is_given_up, kill, one_pid
from tests.integration.serving import (
    CONFIG,
    LONG_S,
    RUNNER,
    Reference,
    Served,
    assert_same,
    check_account,
    check_unbroken,
    eventually,
    faster,
    running_runtime,
    settled_prompts,
)
from tests.pipeline import scene
from tests.pipeline.store.servers import raw_client


@pytest.mark.parametrize("kind", ["decode", "detect", "track"])
def test_results_are_those_of_an_unbroken_run(
    runtime: Runtime,
    store: SessionStore,
    clip: Path,
    model: VideoModel,
    name: str,
    kind: str,
) -> None:
    served = Served.start(store, clip, name, autostart=True)
    served.ask(AddConcept(text="red circle"))
    served.reach(2)
    mask = dict(encode_mask(scene.blue_square(20)))
    served.do(AddObject(obj_id=30, mask=mask))
    for killed_at in (6, 14):
        served.reach(killed_at)
        pid = one_pid(runtime, kind)
        kill(pid)
        eventually(lambda pid=pid: not psutil.pid_exists(pid))  # type: ignore[misc]
    check_unbroken(served, model, clip)
    assert len(settled_prompts(served)) == 2
    assert store.get_session(name).counters.processed == 40
    if kind == "track":
        assert store.get_session(name).writer >= 3


def test_a_driven_session_goes_on_after_its_trackers_death(
    runtime: Runtime, store: SessionStore, clip: Path, model: VideoModel, name: str
) -> None:
    served, reference = Served.start(store, clip, name), Reference(model, clip)
    served.do(AddConcept(text="red circle", frame_index=10))
    reference.add(10, AddConcept(text="red circle"))
    expected = reference.propagate("both", 10, 20)
    told = served.do(Propagate(direction="both", max_distance=20))
    served.cursor = told.detail["cursor"]
    for frame_index in (14, 29):
        served.reach(frame_index)
        kill(one_pid(runtime, "track"))
    # Backward, frame indices go down.
    served.read_until(lambda entry: entry.frame_index == 7)
    kill(one_pid(runtime, "track"))
    entries = [*served.entries, *served.read_until(lambda entry: entry.kind == "end")]
    found = [FrameResult.from_record(entry.record) for entry in entries if entry.kind == "frame"]
    assert_same(found, expected)
    # Prompts after it find the session as it would have been.
    reference.add(5, AddConcept(text="blue square"))
    served.do(AddConcept(text="blue square", frame_index=5))
    # And what was removed stays away.
    assert reference.remove(0)
    assert served.do(RemoveObject(obj_id=0)).detail["kept_away"] is True
    kill(one_pid(runtime, "track"))
    more = reference.propagate("forward", 5, 4)
    assert {label for result in more for label in result.labels} == {"blue square"}
    assert_same(served.propagate(direction="forward", start_frame_index=5, max_distance=4), more)
    check_account(served)
    served.close()


def test_what_dies_again_and_again_fails_the_session_with_the_reason(clip: Path) -> None:
    # However long a busy machine takes to start a worker again, both deaths lie in the window.
    runner = replace(RUNNER, max_decoder_deaths=1, death_window_s=600.0)
    config = faster(CONFIG, max_deaths=1, death_window_s=600.0, runner=runner)
    with running_runtime(config) as (runtime, store):
        served = Served.start(store, clip, "doomed")
        for number in range(2):
            served.do(AddConcept(text=f"circle {number}", frame_index=number))
            kill(one_pid(runtime, "track"))
        served.wait_for(SessionState.FAILED)
        assert "a track worker has died, 2 times within 600 s" in store.get_session("doomed").reason
        # The runtime itself goes on.
        eventually(lambda: not decoders())
        blind = Served.start(store, clip, "blind")
        blind.do(AddConcept(text="red circle", frame_index=0))
        blind.cursor = blind.do(Propagate(direction="forward")).detail["cursor"]
        for killed_at in (2, 14):
            blind.reach(killed_at)
            kill(one_pid(runtime, "decode"))
        blind.wait_for(SessionState.FAILED)
        reason = store.get_session("blind").reason
        assert reason.startswith(
            "SourceError: the decoder of this source has died 2 times within 600 s"
        )
        other = Served.start(store, clip, "other")
        for number in range(2):
            other.do(AddConcept(text=f"circle {number}", frame_index=number))
            kill(one_pid(runtime, "detect"))
        eventually(lambda: is_given_up(runtime))
        other.ask(AddConcept(text="red circle", frame_index=2))
        other.wait_for(SessionState.FAILED)
        assert store.get_session("other").reason.startswith("a detect worker has died again and")
        # Now the runtime can serve nothing more, and leaves new sessions to others.
        eventually(lambda: runtime.failure is not None)
        assert "all of its detect workers have died too often" in str(runtime.failure)


def test_a_checkpoint_that_nobody_can_read_fails_its_session_alone(
    runtime: Runtime, store: SessionStore, clip: Path, name: str
) -> None:
    damaged, neighbour = Served.start(store, clip, name), Served.start(store, clip, f"{name}-n")
    for served in (damaged, neighbour):
        served.do(AddConcept(text="red circle", frame_index=0))
    eventually(lambda: store.load_checkpoint(name) is not None)
    assert store.url is not None
    key = f"maskstream:checkpoint:{name}"
    raw_client(store.url).hset(key, "blob", "nonsense")
    kill(one_pid(runtime, "track"))
    damaged.wait_for(SessionState.FAILED)
    reason = store.get_session(name).reason
    assert reason.startswith("StoreError: "), reason
    assert key in reason
    assert len(neighbour.propagate(direction="forward", max_distance=1)) == 2
    neighbour.close()


def test_an_error_of_the_code_fails_one_session_at_once(
    runtime: Runtime,
    store: SessionStore,
    clip: Path,
    name: str,
) -> None:
    neighbour = Served.start(store, clip, f"{name}-n")
    neighbour.do(AddConcept(text="red circle", frame_index=0))
    pid = one_pid(runtime, "track")
    # Options that no client can have written: reading them is an error.
    store.create_session(NewSession(source=str(clip), session_id=name, options={"every_nth": "x"}))
    record = store.wait_for_state(name, [SessionState.FAILED], LONG_S)
    assert record.state == SessionState.FAILED
    assert record.reason.startswith("ConfigError: the session's options cannot be used: every_nth")
    assert one_pid(runtime, "track") == pid
    assert len(neighbour.propagate(direction="forward", max_distance=1)) == 2
    neighbour.close()
