"""One session in process: pausing, resuming, cancelling and closing while a propagation runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from maskstream.core.errors import SessionError, SessionLimitError
from maskstream.pipeline.api.prompts import ConceptPrompt, ObjectPrompt
from maskstream.pipeline.local import driven
from maskstream.pipeline.local.driven import VideoSession
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.video.segmenter import VideoSegmenter
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.scripted import ScriptedSegmenter

NUM_FRAMES = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", NUM_FRAMES)


@pytest.fixture
def segmenter() -> ScriptedSegmenter:
    return ScriptedSegmenter(delay=2)


@pytest.fixture
def session(clip: Path, segmenter: ScriptedSegmenter) -> Iterator[VideoSession]:
    session = VideoSession("s", open_source(clip), cast(VideoSegmenter, segmenter))
    session.add_prompt(0, ConceptPrompt("red circle"))
    yield session
    session.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def indices(session: VideoSession) -> list[int]:
    return [step.result.frame_index for step in session.propagate("forward", None, None)]


def at_frame(segmenter: ScriptedSegmenter, number: int, do: Callable[[], object]) -> None:
    """Do something while the segmenter works on a frame, once."""

    def look(seen: int) -> None:
        if seen == number:
            segmenter.before_step = lambda seen: None
            do()

    segmenter.before_step = look


def test_pause_stops_before_the_next_frame_and_resume_goes_on(
    session: VideoSession, segmenter: ScriptedSegmenter, pool: ThreadPoolExecutor
) -> None:
    paused = threading.Event()

    def pause() -> None:
        assert session.pause() is True
        paused.set()

    at_frame(segmenter, 3, pause)
    run = pool.submit(indices, session)
    assert paused.wait(20)
    assert session.is_paused
    assert session.pause() is False
    # A prompt is taken meanwhile; the lock is free.
    applied = session.add_prompt(2, ObjectPrompt(obj_id=9, points=((0.5, 0.5),)))
    assert applied.obj_id == 9
    assert segmenter.seen == [0, 1, 2, 3]
    assert not run.done()
    assert session.resume() is True
    assert run.result(20) == list(range(NUM_FRAMES))
    assert session.resume() is False


@pytest.mark.parametrize("stop", ["cancel", "reset", "close"])
def test_what_is_paused_can_be_stopped(
    session: VideoSession, segmenter: ScriptedSegmenter, pool: ThreadPoolExecutor, stop: str
) -> None:
    paused = threading.Event()

    def pause() -> None:
        session.pause()
        paused.set()

    at_frame(segmenter, 3, pause)
    run: Future[list[int]] = pool.submit(indices, session)
    assert paused.wait(20)
    getattr(session, stop)()
    # Cancelled, the frames that were done are given; otherwise they are forgotten.
    assert run.result(20) == ([0, 1, 2, 3] if stop == "cancel" else [0, 1])
    assert segmenter.seen == [0, 1, 2, 3]


def test_cancelling_from_another_thread_really_stops(
    session: VideoSession, segmenter: ScriptedSegmenter, pool: ThreadPoolExecutor
) -> None:
    at_frame(segmenter, 5, session.cancel)
    assert pool.submit(indices, session).result(20) == list(range(6))
    assert segmenter.seen == list(range(6))
    assert session.cancel() is False
    assert indices(session) == list(range(NUM_FRAMES))


def test_both_directions_stop(session: VideoSession, segmenter: ScriptedSegmenter) -> None:
    session.reset()
    session.add_prompt(6, ConceptPrompt("red circle"))
    at_frame(segmenter, 7, session.cancel)
    steps = list(session.propagate("both", None, None))
    assert [step.result.frame_index for step in steps] == [6, 7]
    steps = list(session.propagate("both", None, 2))
    assert [step.result.frame_index for step in steps] == [6, 7, 5, 4]
    assert [step.epoch for step in steps] == [3, 3, 4, 4]
    assert session.num_frames == 6


def test_prompts_are_limited_as_those_of_a_session_in_a_store(
    session: VideoSession, segmenter: ScriptedSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert driven._MAX_PROMPTS == 1000
    monkeypatch.setattr(driven, "_MAX_PROMPTS", 3)
    for text in ("blue square", "star"):
        session.add_prompt(0, ConceptPrompt(text))
    for more in (ConceptPrompt("one more"), ObjectPrompt(obj_id=9, points=((0.5, 0.5),))):
        with pytest.raises(SessionLimitError, match="max_prompts, which is 3; nothing was changed"):
            session.add_prompt(0, more)
    assert (session.num_prompts, len(segmenter.concepts)) == (3, 3)
    assert indices(session) == list(range(NUM_FRAMES))
    session.reset()
    assert session.add_prompt(0, ConceptPrompt("room again")).prompt_id is not None


def test_a_closed_session_says_so(session: VideoSession) -> None:
    session.close()
    for call in (session.pause, session.resume, session.reset):
        with pytest.raises(SessionError, match="is closed; start a new one"):
            call()
