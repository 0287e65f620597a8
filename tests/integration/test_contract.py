"""One session loop, three places: each case gives the same answers, field by field.

A case speaks the session API and writes down every answer and every error. It runs in this process
(`Sam3VideoPredictor`), at a runtime on Ray (`Runtime`), and through a `Client` of that runtime's
store; what it wrote down is compared with what it wrote down in this process.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskstream.core.errors import MaskstreamError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.local.predictor import Sam3VideoPredictor
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.pipeline import scene

NUM_FRAMES = 10
DEADLINE_S = 60.0

Place = Sam3VideoPredictor | Runtime | Client
# Differ from place to place and from time to time. What is compared is that they are there.
_VARYING = (
    "wall_s", "created_s", "updated_s", "expires_s", "fps", "p50", "p95", "p99", "num_waiting"
)  # fmt: skip


class Talk:
    """Asks a place and writes down what it answers, without what no two runs have in common."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._names: dict[str, str] = {}
        self.answers: list[Any] = []

    def start(self, source: Path | str, **fields: Any) -> str:
        """Start a session under a name of its own."""
        name = uuid.uuid4().hex
        self._names[name] = f"session-{len(self._names)}"
        self.ask("start_session", name, resource_path=str(source), **fields)
        return name

    def ask(self, kind: str, session_id: str, **fields: Any) -> Any:
        """The answer, or the error."""
        request = {"type": kind, "session_id": session_id, **fields}
        try:
            answer: Any = self._place.handle_request(request)
        except MaskstreamError as error:
            answer = error
        self._write(kind, answer)
        return answer

    def stream(self, kind: str, session_id: str, **fields: Any) -> list[int]:
        """Follow a stream to its end; the frames that came, with the error that ended it."""
        frames = []
        for answer in self.iterate(kind, session_id, **fields):
            if not isinstance(answer, MaskstreamError):
                frames.append(answer["frame_index"])
        return frames

    def iterate(self, kind: str, session_id: str, **fields: Any) -> Iterator[Any]:
        """The same, one answer at a time."""
        request = {"type": kind, "session_id": session_id, **fields}
        try:
            for answer in self._place.handle_stream_request(request):
                self._write(kind, answer)
                yield answer
        except MaskstreamError as error:
            self._write(kind, error)
            yield error

    def peek(self, kind: str, session_id: str) -> Any:
        """An answer that is not written down."""
        return self._place.handle_request({"type": kind, "session_id": session_id})

    def _write(self, kind: str, answer: Any) -> None:
        if isinstance(answer, MaskstreamError):
            answer = {"error": type(answer).__name__, "message": self._anonymous(str(answer))}
        self.answers.append({"asked": kind, **self._comparable(answer)})

    def _anonymous(self, text: str) -> str:
        for name, alias in self._names.items():
            text = text.replace(name, alias)
        return text

    def _comparable(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: type(item).__name__ if key in _VARYING else self._comparable(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._comparable(item) for item in value]
        return self._anonymous(value) if isinstance(value, str) else value


def assert_same(one: Any, other: Any, where: str) -> None:
    """Equal with equal types, arrays to the bit; scores and boxes to the sixth digit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{number}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, other, atol=1e-6, err_msg=where)
        else:
            np.testing.assert_array_equal(one, other, err_msg=where)
    else:
        assert one == other, where


# The cases


def a_file_driven_by_its_client(talk: Talk, clip: Path) -> None:
    name = talk.start(clip, owner="ann")
    talk.stream("propagate_in_video", name)  # nothing is prompted
    talk.ask("add_prompt", name, frame_index=4, text="red circle")
    talk.ask("add_prompt", name, frame_index=4, obj_id=7, points=[[0.72, 0.71]], point_labels=[1])
    box = [60, 40, 70, 80]
    talk.ask("add_prompt", name, frame_index=4, bounding_boxes=[box], rel_coordinates=False)
    order = [*range(4, NUM_FRAMES), 3, 2, 1, 0]
    assert talk.stream("propagate_in_video", name) == order
    part = {"start_frame_index": 3, "max_frame_num_to_track": 1}
    assert talk.stream("propagate_in_video", name, propagation_direction="forward", **part) == [
        3,
        4,
    ]
    talk.ask("get_session", name)
    talk.ask("get_results", name, cursor=2, max_results=3)
    talk.ask("remove_object", name, obj_id=7)
    talk.ask("remove_object", name, obj_id=7)
    talk.ask("remove_object", name, obj_id=0)  # found by words, so it is kept away
    assert talk.stream("propagate_in_video", name, propagation_direction="forward", **part) == [
        3,
        4,
    ]
    talk.ask("add_prompt", name, frame_index=4, text=["red circle", "blue square"])
    talk.ask("remove_prompt", name, prompt_id=0)
    talk.ask("reset_session", name)
    talk.stream("propagate_in_video", name)  # nothing is prompted any more
    for _ in range(2):
        talk.ask("close_session", name)
    talk.ask("get_session", name)


def a_file_by_itself(talk: Talk, clip: Path) -> None:
    options = {"autostart": True, "every_nth": 2, "start_frame": 1, "max_frames": 4}
    name = talk.start(clip, latency="live", **options)
    assert talk.stream("stream_results", name) == [2, 4, 6, 8]
    until(lambda: talk.peek("get_session", name)["state"] == "ended")
    talk.ask("get_session", name)
    talk.ask("add_prompt", name, frame_index=0, text="late")
    talk.stream("propagate_in_video", name)
    assert talk.stream("stream_results", name, cursor=2) == [6, 8]


def pushed_frames_without_times(talk: Talk, clip: Path) -> None:
    """A frame without a time counts as a 25th of a second, wherever the session runs."""
    name = talk.start("pushed://", target_fps=5, queue_size=50, latency="live")
    talk.ask("add_prompt", name, frame_index=0, text="red circle")
    for index in range(50):
        talk.ask("push_frame", name, frame=scene.image(index % NUM_FRAMES))
    talk.ask("push_frame", name, is_last=True)
    # Every one of them may wait: none is dropped, however slow the machine is.
    assert talk.stream("stream_results", name) == list(range(0, 50, 5))
    until(lambda: talk.peek("get_session", name)["state"] == "ended")
    talk.ask("get_session", name)
    talk.ask("push_frame", name, frame=scene.image(0))


def prompts_at_any_time(talk: Talk, clip: Path) -> None:
    name = talk.start("pushed://", latency="live", queue_size=16)
    results = talk.iterate("stream_results", name)
    push(talk, name, results, 0, 3)
    talk.ask("add_prompt", name, frame_index=0, text="red circle")
    push(talk, name, results, 3, 5)
    talk.ask("pause_session", name)  # or the frame might be on its way before the prompt is read
    with ThreadPoolExecutor(1) as pool:
        # A box needs a frame to be shown on: the next one.
        shown = pool.submit(
            talk.ask, "add_prompt", name, frame_index=1, obj_id=5,
            bounding_boxes=[[0.61, 0.57, 0.21, 0.28]],
        )  # fmt: skip
        until(lambda: talk.peek("get_session", name)["num_prompts"] == 2)
        talk._place.handle_request(
            {"type": "push_frame", "session_id": name, "frame": scene.image(5), "pts_s": 0.5}
        )
        answer = shown.result(DEADLINE_S)
        assert not isinstance(answer, MaskstreamError), answer
        assert answer["took_effect_at"] == 5
    talk.ask("resume_session", name)
    next(results)
    talk.ask("remove_prompt", name, prompt_id=0)
    talk.ask("remove_object", name, obj_id=99)
    push(talk, name, results, 6, 8)
    talk.ask("reset_session", name)
    push(talk, name, results, 8, 9)
    talk.ask("push_frame", name, is_last=True)
    assert list(results) == []


def a_live_source(talk: Talk, clip: Path) -> None:
    """A file in a loop is one: its frames are counted on, and each pass is an epoch."""
    name = talk.start(clip, autostart=True, loop=True, latency="live", max_frames=25)
    assert talk.stream("stream_results", name) == list(range(25))
    until(lambda: talk.peek("get_session", name)["state"] == "ended")
    session = talk.peek("get_session", name)
    assert session["epoch"] == 2
    assert session["frames"]["processed"] == 25
    assert session["frames"]["in_flight"] == 0


def pausing_and_resuming(talk: Talk, clip: Path) -> None:
    name = talk.start(clip, latency="live")
    talk.ask("resume_session", name)
    talk.ask("pause_session", name)
    talk.ask("pause_session", name)
    talk.ask("add_prompt", name, frame_index=0, text="red circle")
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(
            lambda: list(
                talk._place.handle_stream_request(
                    {"type": "propagate_in_video", "session_id": name, "start_frame_index": 2}
                )
            )
        )
        until(lambda: talk.peek("get_session", name)["cursor"] == 0 and is_propagating(talk, name))
        talk.stream("propagate_in_video", name)  # one at a time
        talk.ask("add_prompt", name, frame_index=2, text="blue square")
        assert talk.ask("get_session", name)["frames"]["processed"] == 0
        talk.ask("resume_session", name)
        for answer in reader.result(DEADLINE_S):
            talk._write("propagate_in_video", answer)


def cancelling_gives_what_is_held_back(talk: Talk, clip: Path) -> None:
    name = talk.start("pushed://", queue_size=16)
    talk.ask("add_prompt", name, frame_index=0, text="red circle")
    for index in range(6):
        talk.ask("push_frame", name, frame=scene.image(index), pts_s=index / 10)
    until(lambda: num_taken(talk, name) == 6)
    talk.ask("cancel_propagation", name)
    # Hot start looks 15 frames ahead, so none of them was published before.
    assert talk.stream("stream_results", name) == list(range(6))
    until(lambda: talk.peek("get_session", name)["state"] == "ended")
    talk.ask("cancel_propagation", name)
    driven = talk.start(clip)
    talk.ask("cancel_propagation", driven)


def a_source_that_breaks_gives_what_it_has(talk: Talk, clip: Path) -> None:
    broken = scene.write_scene(clip.with_name("broken.mp4"), 2 * NUM_FRAMES)
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) * 2 // 3])
    name = talk.start(broken)
    talk.ask("add_prompt", name, frame_index=0, text="red circle")
    found = talk.stream("propagate_in_video", name)
    assert found == list(range(len(found)))
    assert 0 < len(found) < 2 * NUM_FRAMES
    talk.ask("get_session", name)  # the session goes on
    talk.ask("reset_session", name)
    by_itself = talk.start(broken, autostart=True)
    assert talk.stream("stream_results", by_itself) == found
    until(lambda: talk.peek("get_session", by_itself)["state"] == "failed")
    talk.ask("get_session", by_itself)


def what_cannot_be_done(talk: Talk, clip: Path) -> None:
    name = talk.start(clip)
    talk.start(clip.with_name("none.mp4"))
    talk.start(clip.with_name("none.mp4"), autostart=True)
    talk.ask("start_session", name, resource_path=str(clip))  # the name is taken
    for fields in (
        {"frame_index": 400, "text": "star"},
        {"frame_index": 0, "text": "word " * 60},
        {"frame_index": 0, "text": "", "colour": 1},
        {"frame_index": 0, "obj_id": 1, "points": [[900, 1]], "point_labels": [1],
         "rel_coordinates": False},
        {"frame_index": 0},
    ):  # fmt: skip
        talk.ask("add_prompt", name, **fields)
    talk.ask("push_frame", name, frame=scene.image(0))
    talk.ask("get_results", name, cursor=99)
    talk.stream("stream_results", "nobody")
    talk.ask("propagate_in_video", name)
    talk.stream("reset_session", name)
    talk.ask("add_prompt", name, frame_index=0, text="red circle")
    talk.stream("propagate_in_video", name, start_frame_index=400)
    assert talk.stream("propagate_in_video", name, max_frame_num_to_track=1) == [0, 1]


def a_session_that_nobody_uses_expires(talk: Talk, clip: Path) -> None:
    name = talk.start(clip, expire_after_s=1.0)
    deadline_s = time.monotonic() + DEADLINE_S
    listed = True
    while listed:
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
        sessions = talk._place.handle_request({"type": "list_sessions"})["sessions"]
        listed = any(one["session_id"] == name for one in sessions)
    talk.ask("get_session", name)


CASES: list[Callable[[Talk, Path], None]] = [
    a_file_driven_by_its_client,
    a_file_by_itself,
    pushed_frames_without_times,
    prompts_at_any_time,
    a_live_source,
    pausing_and_resuming,
    cancelling_gives_what_is_held_back,
    a_source_that_breaks_gives_what_it_has,
    what_cannot_be_done,
    a_session_that_nobody_uses_expires,
]


def push(talk: Talk, name: str, results: Iterator[Any], first: int, end: int) -> None:
    """Push frames, and read the result of each before the next."""
    for index in range(first, end):
        talk.ask("push_frame", name, frame=scene.image(index), pts_s=index / 10)
        assert next(results)["frame_index"] == index


def until(condition: Callable[[], bool]) -> None:
    """Wait until something comes true; it fails when it does not."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        time.sleep(0.01)


def num_taken(talk: Talk, name: str) -> int:
    """Frames that the session has tracked or is about to: those that do not wait to be taken."""
    frames = talk.peek("get_session", name)["frames"]
    return int(frames["decoded"])


def is_propagating(talk: Talk, name: str) -> bool:
    """Whether the command to propagate has been applied."""
    place = talk._place
    store = place._store if isinstance(place, Sam3VideoPredictor | Runtime) else place.store
    return store.get_session(name).settled_sequence == 5


# The places


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene.write_scene(tmp_path_factory.mktemp("contract") / "clip.mp4", NUM_FRAMES)


@pytest.fixture(scope="module")
def in_process(model: VideoModel, short_clip: Path) -> Iterator[Callable[[int], list[Any]]]:
    """What each case writes down in this process."""
    known: dict[int, list[Any]] = {}
    with Sam3VideoPredictor(model) as predictor:

        def written(number: int) -> list[Any]:
            if number not in known:
                known[number] = write_down(predictor, number, short_clip)
            return known[number]

        yield written


def write_down(place: Place, number: int, clip: Path) -> list[Any]:
    talk = Talk(place)
    CASES[number](talk, clip)
    for session in place.handle_request({"type": "list_sessions"})["sessions"]:
        place.handle_request({"type": "close_session", "session_id": session["session_id"]})
    return talk.answers


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.__name__ for case in CASES])
@pytest.mark.parametrize("where", ["runtime", "client"])
def test_the_same_answers_everywhere(
    where: str,
    number: int,
    in_process: Callable[[int], list[Any]],
    runtime: Runtime,
    store: SessionStore,
    short_clip: Path,
) -> None:
    expected = in_process(number)
    place = runtime if where == "runtime" else Client(store)
    found = write_down(place, number, short_clip)
    assert len(expected) > 1
    assert_same(found, expected, CASES[number].__name__)
