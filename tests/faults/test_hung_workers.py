"""What must hold when a worker lives and does not answer: it is ended, and what it did is done
again, with the results of an unbroken run.

Processes are stopped with SIGSTOP, which nothing in them can notice.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ray.exceptions import ActorDiedError

from pipeline.commands import AddConcept
from pipeline.model import VideoModel
from pipeline.results import FrameResult
from pipeline.runtime import Runtime
from pipeline.store import SessionState, SessionStore
from tests.faults.killing import kill, one_pid
from tests.integration.serving import (
    CONFIG,
    RUNNER,
    Served,
    assert_same,
    check_account,
    eventually,
    faster,
    play_prompts,
    running_runtime,
    settled_prompts,
)
from workers.faults import DEATHS

UNRESPONSIVE_S = 4.0


@pytest.fixture
def impatient() -> Iterator[tuple[Runtime, SessionStore]]:
    """A runtime that does not wait long for an answer."""
    runner = replace(RUNNER, unresponsive_s=UNRESPONSIVE_S)
    with running_runtime(faster(CONFIG, runner=runner)) as both:
        yield both


def check_results(served: Served, model: VideoModel, clip: Path) -> None:
    """Each frame's result once and in order, as from a run that nothing has disturbed."""
    *entries, end = [*served.entries, *served.read_until(lambda entry: entry.kind == "end")]
    assert end.record["reason"] == "finished"
    served.wait_for(SessionState.ENDED)
    found = [FrameResult.from_record(entry.record) for entry in entries]
    assert [result.frame_index for result in found] == list(range(40))
    assert_same(found, play_prompts(model, clip, settled_prompts(served)))
    check_account(served)


@pytest.mark.parametrize("kind", ["decode", "detect", "track"])
def test_a_worker_that_does_not_answer_is_replaced(
    impatient: tuple[Runtime, SessionStore], clip: Path, model: VideoModel, kind: str
) -> None:
    runtime, store = impatient
    served = Served.start(store, clip, "s", autostart=True)
    served.ask(AddConcept(text="red circle"))
    served.reach(6)
    stopped = one_pid(runtime, kind)
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: not psutil.pid_exists(stopped))
    check_results(served, model, clip)
    if kind != "decode":  # which goes with its session
        assert one_pid(runtime, kind) != stopped
    if kind == "track":
        assert store.get_session("s").writer == 2


def one_is_ended(runtime: Runtime) -> bool:
    """Whether one of the workers is not started any more."""
    try:
        runtime.worker_pids()
    except ActorDiedError:
        return True
    except DEATHS:  # Ray is starting it again
        return False
    return False


def test_another_detect_worker_takes_the_frames_of_one_that_was_given_up(
    clip: Path, model: VideoModel
) -> None:
    config = faster(CONFIG, num_detect_workers=2, max_deaths=1, death_window_s=600.0)
    with running_runtime(config) as (runtime, store):
        served = Served.start(store, clip, "s", autostart=True)
        served.ask(AddConcept(text="red circle"))
        for killed_at in (4, 12):
            served.reach(killed_at)
            pid = runtime.worker_pids()["detect"][0]
            kill(pid)
            eventually(lambda pid=pid: not psutil.pid_exists(pid))  # type: ignore[misc]
        check_results(served, model, clip)
        eventually(lambda: one_is_ended(runtime))
        late = Served.start(store, clip, "late", autostart=True)
        late.ask(AddConcept(text="red circle"))
        check_results(late, model, clip)
