"""What must hold with a spare track worker: it takes a dead one's place, and results are those of
an unbroken run; its own death touches no session.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.commands import AddConcept
from pipeline.model import VideoModel
from pipeline.results import FrameResult
from pipeline.runtime import Runtime
from pipeline.store import SessionState, SessionStore
from tests.faults.killing import kill, one_pid
from tests.integration.serving import (
    CONFIG,
    Served,
    assert_same,
    check_account,
    eventually,
    faster,
    play_prompts,
    running_runtime,
    settled_prompts,
)


@pytest.fixture
def served_by() -> Iterator[tuple[Runtime, SessionStore]]:
    """With a spare, that may die once."""
    with running_runtime(faster(CONFIG, spare_track_workers=1, max_deaths=1)) as both:
        yield both


def ready_spare(runtime: Runtime, *, other_than: int | None = None) -> int:
    """Its process id, waited for."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in runtime.worker_pids()["spare"] if pid != other_than]
        return bool(found)

    eventually(look)
    [pid] = found
    return pid


def finish(served: Served, clip: Path, model: VideoModel) -> None:
    """Read to the end, and compare with an unbroken run."""
    *entries, end = [*served.entries, *served.read_until(lambda entry: entry.kind == "end")]
    assert end.record["reason"] == "finished"
    served.wait_for(SessionState.ENDED)
    found = [FrameResult.from_record(entry.record) for entry in entries]
    assert [result.frame_index for result in found] == list(range(40))
    assert_same(found, play_prompts(model, clip, settled_prompts(served)))
    check_account(served)


def test_a_spare_takes_a_dead_trackers_place_and_another_stands_by(
    served_by: tuple[Runtime, SessionStore], clip: Path, model: VideoModel
) -> None:
    runtime, store = served_by
    spare = ready_spare(runtime)
    served = Served.start(store, clip, "s", autostart=True)
    served.ask(AddConcept(text="red circle"))
    served.reach(6)
    kill(one_pid(runtime, "track"))
    eventually(lambda: store.get_session("s").writer == 2)
    assert one_pid(runtime, "track") == spare
    finish(served, clip, model)
    assert store.get_session("s").writer == 2
    assert one_pid(runtime, "track") == spare
    assert ready_spare(runtime, other_than=spare) != spare


def test_the_death_of_spares_touches_no_session_and_is_bounded(
    served_by: tuple[Runtime, SessionStore], clip: Path, model: VideoModel
) -> None:
    runtime, store = served_by
    first = ready_spare(runtime)
    served = Served.start(store, clip, "s", autostart=True)
    served.ask(AddConcept(text="red circle"))
    served.reach(6)
    kill(first)
    second = ready_spare(runtime, other_than=first)
    finish(served, clip, model)
    assert store.get_session("s").writer == 1
    kill(second)
    eventually(lambda: not runtime.worker_pids()["spare"])
    # There is none any more, and a dead track worker's place is taken by a new one.
    again = Served.start(store, clip, "again", autostart=True)
    again.ask(AddConcept(text="red circle"))
    again.reach(6)
    tracker = one_pid(runtime, "track")
    kill(tracker)
    eventually(lambda: not psutil.pid_exists(tracker))
    finish(again, clip, model)
    assert one_pid(runtime, "track") not in (tracker, first, second)
    assert runtime.worker_pids()["spare"] == []
