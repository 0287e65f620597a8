"""A runtime for tests, and a client's end of its sessions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from maskstream.pipeline.api.commands import (
    AddConcept,
    AddObject,
    Command,
    Propagate,
    parse_command,
)
from maskstream.pipeline.api.fields import Direction
from maskstream.pipeline.api.options import Latency, SessionOptions
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.runtime import RunnerConfig, Runtime, RuntimeConfig
from maskstream.pipeline.sources import Frame, open_source
from maskstream.pipeline.store import (
    NewEntry,
    NewSession,
    Outcome,
    ResultEntry,
    SessionLimits,
    SessionState,
    SessionStore,
    open_store,
)
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter

LONG_S = 120.0
"""How long a test waits for what must come; no claim, and long enough for a busy machine."""
KEY = bytes(range(32))
RUNNER = RunnerConfig(checkpoint_every_s=0.3, frame_wait_s=5.0)
CONFIG = RuntimeConfig(
    runner=RUNNER,
    num_cpus=2,
    object_store_bytes=300_000_000,
    lease_s=2.0,
    gcs_missing_s=2.0,
    max_sessions=16,
)

_KINDS = {
    "AddConcept": "add_concept",
    "AddObject": "add_object",
    "RemovePrompt": "remove_prompt",
    "RemoveObject": "remove_object",
}


@contextlib.contextmanager
def running_runtime(config: RuntimeConfig = CONFIG) -> Iterator[tuple[Runtime, SessionStore]]:
    """A runtime on an embedded store."""
    store = open_store()
    try:
        with Runtime(store, config) as runtime:
            yield runtime, store
    finally:
        store.close()


def eventually(condition: Callable[[], bool], timeout_s: float = LONG_S) -> None:
    """Wait until something comes true; it fails when it does not."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


@dataclass
class Served:
    """A session, as a client sees it."""

    store: SessionStore
    session_id: str
    cursor: int = 0
    entries: list[ResultEntry] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        store: SessionStore,
        source: str | Path,
        session_id: str,
        limits: SessionLimits | None = None,
        owner: str = "anonymous",
        **options: Any,
    ) -> Served:
        stored = SessionOptions(**options).to_stored()
        limits = SessionLimits() if limits is None else limits
        store.create_session(
            NewSession(
                source=str(source),
                session_id=session_id,
                options=stored,
                limits=limits,
                owner=owner,
            )
        )
        return cls(store, session_id)

    def ask(self, command: Command) -> int:
        """Append a command; its sequence."""
        name = type(command).__name__
        kind: Any = _KINDS.get(name, name.lower())
        new = NewEntry(kind=kind, payload=command.to_payload())
        return self.store.append_entry(self.session_id, new).sequence

    def outcome(self, sequence: int) -> Outcome:
        """Wait for what became of a command."""
        entry = self.store.wait_settled(self.session_id, sequence, LONG_S)
        assert entry.outcome is not None, self.store.get_session(self.session_id)
        return entry.outcome

    def do(self, command: Command) -> Outcome:
        """Append a command and wait until it is applied."""
        outcome = self.outcome(self.ask(command))
        assert outcome.rejection is None, outcome.rejection
        return outcome

    def wait_for(self, *states: SessionState) -> None:
        """Wait for a state."""
        record = self.store.wait_for_state(self.session_id, states, LONG_S)
        assert record.state in states, (record.state, record.reason)

    def read_until(self, condition: Callable[[ResultEntry], bool]) -> list[ResultEntry]:
        """Read on up to the first entry that meets a condition, which must come."""
        deadline = time.monotonic() + LONG_S
        found: list[ResultEntry] = []
        while True:
            page = self.store.read_results(self.session_id, self.cursor, count=1, timeout_s=5)
            self.cursor = page.cursor
            assert page.num_missed == 0
            found += page.entries
            self.entries += page.entries
            if page.entries and condition(page.entries[0]):
                return found
            assert not page.is_end, (found[-1:], self.store.get_session(self.session_id))
            assert time.monotonic() < deadline, self.store.get_session(self.session_id)

    def read_run(self) -> list[FrameResult]:
        """The frames up to the end of a run."""
        *frames, end = self.read_until(lambda entry: entry.kind == "end")
        assert end.record["reason"] == "finished", end.record
        return [FrameResult.from_record(entry.record) for entry in frames]

    def reach(self, frame_index: int) -> None:
        """Read until a frame's result is there."""
        self.read_until(lambda entry: entry.frame_index >= frame_index)

    def propagate(self, **fields: Any) -> list[FrameResult]:
        """Run and read to the end."""
        outcome = self.do(Propagate(**fields))
        self.cursor = outcome.detail["cursor"]
        return self.read_run()

    def close(self) -> None:
        """End it, and forget it."""
        self.store.transition(self.session_id, SessionState.DRAINING)
        self.wait_for(SessionState.ENDED)
        self.store.delete_session(self.session_id)


def play_prompts(
    model: VideoModel,
    source: Path,
    prompts: Sequence[tuple[int, Command]],
    *,
    latency: Any = "delayed",
    num_frames: int | None = None,
) -> list[FrameResult]:
    """In this process: the frames of a file, with prompts before certain ones of them."""
    with open_source(source) as opened:
        return play_frames(model, islice(opened, num_frames), prompts, latency=latency)


def play_frames(
    model: VideoModel,
    frames: Iterable[Frame],
    prompts: Sequence[tuple[int, Command]],
    *,
    latency: Any = "delayed",
) -> list[FrameResult]:
    """In this process: any frames, with prompts before certain ones of them."""
    segmenter = VideoSegmenter(model, latency=latency)
    results = []
    for frame in frames:
        for index, command in prompts:
            if index == frame.index:
                apply(segmenter, frame, command)
        results += segmenter.step(frame)
    return results + segmenter.flush()


def apply(segmenter: VideoSegmenter, frame: Frame, command: Command) -> int:
    """A prompt as a session that runs by itself applies it; its prompt_id or obj_id."""
    height, width = frame.image.shape[:2]
    if isinstance(command, AddConcept):
        concept = command.at(width, height)
        return segmenter.add_concept(
            concept.text, frame=frame, boxes=concept.boxes, box_labels=concept.box_labels
        )
    if isinstance(command, AddObject):
        prompt = command.at(width, height)
        return segmenter.add_object(
            frame,
            obj_id=prompt.obj_id,
            points=prompt.points or None,
            point_labels=prompt.point_labels or None,
            box=prompt.box,
            mask=prompt.mask_array,
        )
    raise AssertionError(command)


class Reference:
    """A file segmented in this process, without a session: what a driven session has to give."""

    def __init__(self, model: VideoModel, clip: Path, latency: Latency = "delayed") -> None:
        self._source = open_source(clip)
        self._segmenter = VideoSegmenter(model, latency=latency)

    def add(self, frame_index: int, command: AddConcept | AddObject) -> FrameResult:
        """Apply a prompt; the objects of its frame."""
        frame = self._source.read(frame_index)
        prompt_id = apply(self._segmenter, frame, command)
        if isinstance(command, AddConcept):
            return self._segmenter.find_now(frame, prompt_id)
        return self._segmenter.at(frame)

    def remove(self, obj_id: int) -> bool:
        """See ``RemoveObject``."""
        return self._segmenter.remove_object(obj_id)

    def propagate(
        self, direction: Direction, start: int, max_distance: int | None = None
    ) -> list[FrameResult]:
        """See ``Propagate``: forward, the frame that it starts from does not count."""
        found: list[FrameResult] = []
        one_way: tuple[Direction, ...] = ("forward", "backward")
        for way in one_way:
            if direction in (way, "both"):
                most = max_distance
                if way == "forward" and most is not None:
                    most += 1
                found += self._segmenter.run(
                    self._source, direction=way, start_frame=start, max_frames=most
                )
        return found


def assert_same(
    found: Sequence[FrameResult], expected: Sequence[FrameResult], only: set[int] | None = None
) -> None:
    """The same frames with the same objects and masks, to the bit."""
    assert [one.frame_index for one in found] == [one.frame_index for one in expected]
    for one, other in zip(found, expected, strict=True):
        if only is None:
            assert one.confirmed_ids == other.confirmed_ids, one.frame_index
            assert one.withdrawn_ids == other.withdrawn_ids, one.frame_index
        one, other = _only(one, only), _only(other, only)
        where = f"frame {one.frame_index}"
        assert one.obj_ids.tolist() == other.obj_ids.tolist(), where
        assert one.labels == other.labels, where
        assert one.states == other.states, where
        assert np.array_equal(one.masks, other.masks), where
        assert np.allclose(one.scores, other.scores, atol=1e-6, equal_nan=True), where


def _only(result: FrameResult, obj_ids: set[int] | None) -> FrameResult:
    if obj_ids is None:
        return result
    rows = [row for row, obj_id in enumerate(result.obj_ids.tolist()) if obj_id in obj_ids]
    return result.select(rows)


def settled_prompts(served: Served) -> list[tuple[int, Command]]:
    """The prompts of a session with the frames they took effect on."""
    return [
        (entry.outcome.frame_index, parse_command(entry.kind, entry.payload))
        for entry in served.store.read_journal(served.session_id).entries
        if entry.outcome is not None and entry.outcome.frame_index is not None
    ]


def check_account(served: Served, *, done: bool = True) -> None:
    """Every decoded frame is accounted for, and every result was published once, in order."""
    record = served.store.get_session(served.session_id)
    counters = record.counters
    if done:
        assert counters.in_flight == 0, counters
    frames = [entry for entry in served.entries if entry.kind == "frame"]
    places = [entry.place for entry in served.entries]
    assert places == sorted(set(places))
    if served.entries and len(served.entries) == record.result_sequence:
        assert counters.processed == len(frames)


def faster(config: RuntimeConfig = CONFIG, **changes: Any) -> RuntimeConfig:
    """The configuration with changes."""
    return replace(config, **changes)


def check_unbroken(served: Served, model: VideoModel, source: Path | Sequence[Frame]) -> None:
    """Each frame's result once and in order, as from a run that nothing has disturbed."""
    *entries, end = [*served.entries, *served.read_until(lambda entry: entry.kind == "end")]
    assert end.record["reason"] == "finished"
    served.wait_for(SessionState.ENDED)
    found = [FrameResult.from_record(entry.record) for entry in entries]
    assert [result.frame_index for result in found] == list(range(40))
    prompts = settled_prompts(served)
    if isinstance(source, Path):
        expected = play_prompts(model, source, prompts)
    else:
        expected = play_frames(model, source, prompts)
    assert_same(found, expected)
    check_account(served)
