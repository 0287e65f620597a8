"""What must hold when a worker lives and does not answer: it is ended, and what it did is done
again, with the results of an unbroken run.

Processes are stopped with SIGSTOP, which nothing in them can notice.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.api.frame_codec import encode_frame
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.store import SessionLimits, SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.faults.killing import detect_pids, is_given_up, kill, one_pid
from tests.integration.serving import (
    CONFIG,
    RUNNER,
    Reference,
    Served,
    assert_same,
    check_unbroken,
    eventually,
    faster,
    running_runtime,
)
from tests.pipeline import scene

UNRESPONSIVE_S = 8.0


@pytest.fixture
def impatient() -> Iterator[tuple[Runtime, SessionStore]]:
    """A runtime that does not wait long for an answer."""
    runner = replace(RUNNER, unresponsive_s=UNRESPONSIVE_S)
    with running_runtime(faster(CONFIG, runner=runner)) as both:
        yield both


def push(store: SessionStore, frames: Sequence[Frame]) -> None:
    for frame in frames:
        store.push_frame("s", encode_frame(frame.image), frame.pts_s)


@pytest.mark.parametrize("kind", ["decode", "detect", "track"])
def test_a_worker_that_does_not_answer_is_replaced(
    impatient: tuple[Runtime, SessionStore], model: VideoModel, kind: str
) -> None:
    runtime, store = impatient
    frames = scene.frames(40)
    limits = SessionLimits(max_waiting_frames=len(frames))
    served = Served.start(store, "pushed://", "s", limits, queue_size=len(frames))
    served.ask(AddConcept(text="red circle"))
    push(store, frames[:24])
    served.reach(6)
    stopped = one_pid(runtime, kind)
    os.kill(stopped, signal.SIGSTOP)
    push(store, frames[24:])  # for these it is needed, however late we are
    store.finish_frames("s")
    eventually(lambda: not psutil.pid_exists(stopped))
    check_unbroken(served, model, frames)
    if kind != "decode":  # which goes with its session
        assert one_pid(runtime, kind) != stopped
    if kind == "track":
        assert store.get_session("s").writer == 2


def test_a_decode_worker_that_hangs_while_nobody_waits_for_frames_is_replaced(
    impatient: tuple[Runtime, SessionStore], clip: Path, model: VideoModel
) -> None:
    """It has handed over its last frame: the next prompt asks for one by its index, and the next
    run sends it to another place.
    """
    runtime, store = impatient
    served, reference = Served.start(store, clip, "s"), Reference(model, clip)
    served.do(AddConcept(text="red circle", frame_index=0))
    reference.add(0, AddConcept(text="red circle"))
    for prompted in (True, False):
        start = 10 if prompted else 4
        stopped = one_pid(runtime, "decode")
        os.kill(stopped, signal.SIGSTOP)
        if prompted:
            served.do(AddConcept(text="blue square", frame_index=start))
            reference.add(start, AddConcept(text="blue square"))
        expected = reference.propagate("forward", start, 3)
        run = {"direction": "forward", "start_frame_index": start, "max_distance": 3}
        assert_same(served.propagate(**run), expected)
        eventually(lambda pid=stopped: not psutil.pid_exists(pid))  # type: ignore[misc]
    last = one_pid(runtime, "decode")
    os.kill(last, signal.SIGSTOP)
    served.close()
    eventually(lambda: not psutil.pid_exists(last))


def test_another_detect_worker_takes_the_frames_of_one_that_was_given_up(
    clip: Path, model: VideoModel
) -> None:
    config = faster(CONFIG, num_detect_workers=2, max_deaths=1, death_window_s=600.0)
    with running_runtime(config) as (runtime, store):
        served = Served.start(store, clip, "s", autostart=True)
        served.ask(AddConcept(text="red circle"))
        for killed_at in (4, 12):
            served.reach(killed_at)
            kill(detect_pids(runtime)[0])
        check_unbroken(served, model, clip)
        eventually(lambda: is_given_up(runtime))
        late = Served.start(store, clip, "late", autostart=True)
        late.ask(AddConcept(text="red circle"))
        check_unbroken(late, model, clip)
