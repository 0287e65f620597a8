"""What must hold with a spare track worker: it takes a dead one's place, and results are those of
an unbroken run; its own death touches no session.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.faults.killing import kill, one_pid
from tests.integration.serving import (
    CONFIG,
    Reference,
    Served,
    assert_same,
    check_unbroken,
    eventually,
    faster,
    running_runtime,
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
    check_unbroken(served, model, clip)
    assert store.get_session("s").writer == 2
    assert one_pid(runtime, "track") == spare
    assert ready_spare(runtime, other_than=spare) != spare


def test_the_death_of_spares_touches_no_session_and_is_bounded(
    served_by: tuple[Runtime, SessionStore], clip: Path, model: VideoModel
) -> None:
    runtime, store = served_by
    served, reference = Served.start(store, clip, "s"), Reference(model, clip)
    served.do(AddConcept(text="red circle", frame_index=0))
    reference.add(0, AddConcept(text="red circle"))

    def play_on(start: int) -> None:
        expected = reference.propagate("forward", start, 3)
        fields = {"direction": "forward", "start_frame_index": start, "max_distance": 3}
        assert_same(served.propagate(**fields), expected)

    first = ready_spare(runtime)
    kill(first)
    play_on(0)
    second = ready_spare(runtime, other_than=first)
    kill(second)
    eventually(lambda: not runtime.worker_pids()["spare"])
    play_on(4)
    assert store.get_session("s").writer == 1
    # There is none any more, and a dead track worker's place is taken by a new one.
    tracker = one_pid(runtime, "track")
    kill(tracker)
    play_on(8)
    assert store.get_session("s").writer == 2
    assert one_pid(runtime, "track") not in (tracker, first, second)
    assert runtime.worker_pids()["spare"] == []
