"""A segmenter without a model, and a loop that serves the sessions of a store with it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from maskstream.core.errors import MaskstreamError, PromptError, SessionError
from maskstream.pipeline.api.commands import (
    AddConcept,
    AddObject,
    Command,
    PromptDetail,
    Propagate,
    PropagateDetail,
    RemoveObject,
    RemovePrompt,
    Reset,
    RunEnd,
    SuccessDetail,
    error_text,
    parse_command,
)
from maskstream.pipeline.api.options import PUSHED_SOURCE, SessionOptions
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.live import open_live
from maskstream.pipeline.local.driven import StepResult, VideoSession
from maskstream.pipeline.local.running import RunningSession
from maskstream.pipeline.sources import Frame, open_source
from maskstream.pipeline.store import JournalEntry, Outcome, ResultEntry, SessionState, SessionStore
from maskstream.pipeline.store.pushed_frames import StoredFrames
from maskstream.pipeline.video.segmenter import VideoSegmenter
from tests.pipeline.clips import number_in
from tests.pipeline.frame_results import make_result

BAD_WORD = "unspeakable"


@dataclass(frozen=True)
class ScriptedConcept:
    prompt_id: int
    text: str | None


class ScriptedSegmenter:
    """One made-up object for each prompt; its score tells the number that the frame spells."""

    def __init__(self, delay: int = 0) -> None:
        self.delay = delay
        self.seen: list[int] = []
        self.numbers: list[int] = []
        self.before_step: Callable[[int], None] = lambda number: None
        self.reset()

    def reset(self) -> None:
        self._concepts: dict[int, ScriptedConcept] = {}
        self._objects: dict[int, tuple[int, str, int]] = {}
        self._held: deque[FrameResult] = deque()
        self._next = 0

    @property
    def concepts(self) -> list[ScriptedConcept]:
        return list(self._concepts.values())

    def add_concept(self, text: str | None = None, **shown: Any) -> int:
        if text == BAD_WORD:
            raise PromptError(f"nobody knows what {text} looks like")
        prompt_id = self._next
        self._next += 1
        self._concepts[prompt_id] = ScriptedConcept(prompt_id, text)
        self._objects[prompt_id] = (prompt_id, text or "visual", -1)
        return prompt_id

    def find_now(self, frame: Frame, prompt_id: int) -> FrameResult:
        return self.at(frame)

    def add_object(self, frame: Frame, *, obj_id: int | None = None, **shown: Any) -> int:
        chosen = 100 + len(self._objects) if obj_id is None else obj_id
        self._objects[chosen] = (-1, "object", frame.index)
        return chosen

    def remove_concept(self, prompt_id: int) -> list[int]:
        self._concepts.pop(prompt_id, None)
        gone = [obj for obj, (prompt, _, _) in self._objects.items() if prompt == prompt_id]
        for obj_id in gone:
            del self._objects[obj_id]
        return gone

    def remove_object(self, obj_id: int) -> bool:
        return self._objects.pop(obj_id, None) is not None

    def at(self, frame: Frame) -> FrameResult:
        height, width = frame.image.shape[:2]
        ids = list(self._objects)
        result = make_result(
            frame.index,
            ids,
            size=(height, width),
            pts_s=frame.pts_s,
            labels=[self._objects[obj_id][1] for obj_id in ids],
            prompt_ids=[self._objects[obj_id][0] for obj_id in ids],
        )
        told = np.full(len(ids), number_in(frame.image) / 1000, np.float32)
        begun = [max(0, self._objects[obj_id][2]) for obj_id in ids]
        return replace(result, scores=told, first_frames=np.array(begun, np.int64))

    def step(self, frame: Frame, *, reverse: bool = False) -> list[FrameResult]:
        self.seen.append(number_in(frame.image))
        self.numbers.append(frame.index)
        self.before_step(self.seen[-1])
        for obj_id, (prompt_id, label, begun) in list(self._objects.items()):
            if begun < 0:
                self._objects[obj_id] = (prompt_id, label, frame.index)
        self._held.append(self.at(frame))
        return [self._held.popleft()] if len(self._held) > self.delay else []

    def flush(self) -> list[FrameResult]:
        ready, self._held = list(self._held), deque()
        return ready


MakeSegmenter = Callable[[SessionOptions], Any]


def scripted(options: SessionOptions) -> ScriptedSegmenter:
    return ScriptedSegmenter(2 if options.latency == "delayed" else 0)


class ServingLoop:
    """Serves all sessions of a store, as a runtime would, but in threads of this process."""

    def __init__(self, store: SessionStore, make: MakeSegmenter = scripted) -> None:
        self.store = store
        self._make = make
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.segmenters: dict[str, Any] = {}
        self._main = threading.Thread(target=self._claim, daemon=True)
        self._main.start()

    def close(self) -> None:
        self._stop.set()
        self._main.join(20)
        for thread in self._threads:
            thread.join(20)

    def _claim(self) -> None:
        while not self._stop.is_set():
            try:
                session_id = self.store.claim_session("test", 60.0, timeout_s=0.05)
            except MaskstreamError:
                continue
            if session_id is not None:
                thread = threading.Thread(target=self._serve, args=(session_id,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, session_id: str) -> None:
        try:
            record = self.store.get_session(session_id)
            options = SessionOptions.from_stored(record.options)
            segmenter = self.segmenters[session_id] = self._make(options)
            source = self.store.reveal_source(session_id)
            if options.runs_by_itself(source):
                self._run(session_id, source, options, segmenter)
            else:
                DrivenSession(self.store, session_id, source, segmenter, self._stop).serve()
        except SessionError:
            return  # deleted meanwhile
        except MaskstreamError as error:
            with suppress(SessionError):  # who waited for it may have deleted it by now
                self.store.transition(session_id, SessionState.FAILED, reason=error_text(error))

    def _run(self, session_id: str, source: str, options: SessionOptions, segmenter: Any) -> None:
        config = options.to_live_config()
        frames = (
            StoredFrames(self.store, session_id, config)
            if source == PUSHED_SOURCE
            else open_live(source, config)
        )
        running = RunningSession(
            self.store,
            session_id,
            frames,
            segmenter,
            start_frame=options.start_frame,
            max_frames=options.max_frames,
        )
        while not running.join(0.05):
            if self._stop.is_set():
                self.store.delete_session(session_id)


class DrivenSession:
    """Answers the journal of one session out of a VideoSession."""

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        source: str,
        segmenter: Any,
        stop: threading.Event,
    ) -> None:
        self.store, self.session_id, self.stop = store, session_id, stop
        self.session = VideoSession(
            session_id, open_source(source), cast(VideoSegmenter, segmenter)
        )
        self.writer = store.take_over(session_id)
        self.cursor = 0
        self.epoch = 0
        self.run: Iterator[StepResult] | None = None
        self.num_published = 0

    def serve(self) -> None:
        self.store.transition(self.session_id, SessionState.RUNNING, writer=self.writer)
        while not self.stop.is_set():
            waiting = 0.0 if self.run is not None else 0.05
            page = self.store.read_journal(self.session_id, self.cursor, timeout_s=waiting)
            self.cursor = page.cursor
            for entry in page.entries:
                self.answer(entry)
            if not self.store.get_session(self.session_id).state.takes_prompts:
                self.end("cancelled")
                self.session.close()
                self.store.transition(self.session_id, SessionState.ENDED, writer=self.writer)
                return
            if not self.session.is_paused:
                self.advance()

    def answer(self, entry: JournalEntry) -> None:
        try:
            command = parse_command(entry.kind, entry.payload)
            outcome = self.apply(entry.kind, command)
        except MaskstreamError as error:
            outcome = Outcome(rejection=error_text(error))
        self.store.settle_entry(self.session_id, entry.sequence, outcome, writer=self.writer)

    def apply(self, kind: str, command: Command) -> Outcome:
        session = self.session
        if isinstance(command, AddConcept | AddObject):
            info = session.source.info
            frame_index = command.frame_index or 0
            applied = session.add_prompt(frame_index, command.to_prompt(info.width, info.height))
            detail = PromptDetail(
                prompt_id=applied.prompt_id,
                obj_id=applied.obj_id,
                record=applied.result.to_record(),
            )
            return Outcome(frame_index=frame_index, detail=detail.to_detail())
        if isinstance(command, Propagate):
            return self.propagate(command)
        if isinstance(command, RemoveObject):
            is_success = session.remove_object(command.obj_id)
        elif isinstance(command, RemovePrompt):
            is_success = session.remove_prompt(command.prompt_id)
        elif isinstance(command, Reset):
            session.reset()
            is_success = True
        elif kind == "cancel":
            is_success = self.run is not None
            session.cancel()
        else:
            is_success = session.pause() if kind == "pause" else session.resume()
            if is_success:
                state = SessionState.PAUSED if kind == "pause" else SessionState.RUNNING
                self.store.transition(self.session_id, state, writer=self.writer)
        return Outcome(frame_index=0, detail=SuccessDetail(is_success=is_success).to_detail())

    def propagate(self, command: Propagate) -> Outcome:
        if self.run is not None:
            raise SessionError("it is propagating already")
        if self.session.num_prompts == 0:
            raise SessionError(f"session {self.session_id} has no prompt; add one")
        self.run = self.session.propagate(
            command.direction, command.start_frame_index, command.max_frames
        )
        cursor = self.store.get_session(self.session_id).result_sequence
        last = self.epoch + (2 if command.direction == "both" else 1)
        self.first, self.last, self.step = self.epoch + 1, last, 0
        detail = PropagateDetail(cursor=cursor, epochs=(self.epoch + 1, last))
        return Outcome(frame_index=0, detail=detail.to_detail())

    def advance(self) -> None:
        if self.run is None:
            return
        try:
            step = next(self.run, None)
        except MaskstreamError as error:
            self.end("failed", error_text(error))
            return
        if step is None:
            self.end("cancelled" if self.session._cancelled.is_set() else "finished")
            return
        self.publish(step)

    def publish(self, step: StepResult) -> None:
        self.step += 1
        entry = ResultEntry(
            frame_index=step.result.frame_index,
            epoch=step.epoch,
            step=self.step,
            wall_s=step.wall_s,
            record=step.result.to_record(),
        )
        self.store.publish_result(self.session_id, entry, writer=self.writer)

    def end(self, reason: Any, message: str = "") -> None:
        if self.run is None:
            return
        self.run = None
        self.epoch = self.last
        self.session.epoch = self.last
        entry = ResultEntry(
            frame_index=0,
            epoch=self.last,
            step=self.step + 1,
            kind="end",
            wall_s=time.time(),
            record=RunEnd(reason=reason, message=message, epoch=self.last).to_detail(),
        )
        self.store.publish_result(self.session_id, entry, writer=self.writer)


@contextmanager
def serving(store: SessionStore, make: MakeSegmenter = scripted) -> Iterator[ServingLoop]:
    loop = ServingLoop(store, make)
    try:
        yield loop
    finally:
        loop.close()


def shown_ids(outputs: dict[str, Any]) -> Sequence[int]:
    ids: list[int] = outputs["out_obj_ids"].tolist()
    return ids
