"""A session that runs by itself, in a thread of this process: reads, segments, publishes.

The store is where it meets its clients: prompts come through the journal, results go to the log.
So a client of this process and one of another see the same, and
``maskstream.pipeline.client.client.Client`` speaks to both.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from maskstream.core.errors import MaskstreamError, PromptError, SessionError, SessionNotFoundError
from maskstream.pipeline.api.commands import (
    AddConcept,
    AddObject,
    Cancel,
    Command,
    Pause,
    PromptDetail,
    RemoveObject,
    RemovePrompt,
    Reset,
    Resume,
    RunEnd,
    SuccessDetail,
    error_text,
    parse_command,
)
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.live import LiveFrame, LiveStats
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.store import (
    Counters,
    JournalEntry,
    Outcome,
    ResultEntry,
    SessionState,
    SessionStore,
)
from maskstream.pipeline.video.frame_numbers import FrameNumbers
from maskstream.pipeline.video.rates import Rates
from maskstream.pipeline.video.segmenter import VideoSegmenter

_LOG = logging.getLogger("maskstream.running")

_FRAME_WAIT_S = 0.05
_PAUSE_WAIT_S = 0.2
_REPORT_EVERY_S = 0.5


class RunningSource(Protocol):
    """What a session reads: a ``LiveSource``, or frames pushed into the store."""

    @property
    def is_over(self) -> bool:
        """Whether no frame will come any more."""
        ...

    def read(self, timeout_s: float | None = None) -> LiveFrame | None:
        """The next frame; None when none came in time, or at the end."""
        ...

    def stats(self) -> LiveStats:
        """All figures of one moment."""
        ...

    def close(self) -> None:
        """Stop at once."""
        ...


@dataclass(frozen=True, slots=True)
class _Taken:
    """A frame on its way through the segmenter."""

    index: int
    epoch: int
    wall_s: float
    gap_s: float


class RunningSession:
    """Serves one session of a store until its source ends, it is cancelled, closed or fails.

    Prompts take effect at the next frame; words alone need none to be shown on and are taken at
    once. Pausing, resuming and cancelling take effect at once, also while a prompt waits for a
    frame. Whatever goes wrong ends the session, which then says why; it never ends the process.

    Args:
        store: holds the session, which is ``starting``.
        session_id: which.
        source: is closed in the end.
        segmenter: the session's own.
        start_frame: frames before it are skipped.
        max_frames: it ends after so many; None: never.
    """

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        source: RunningSource,
        segmenter: VideoSegmenter,
        *,
        start_frame: int = 0,
        max_frames: int | None = None,
    ) -> None:
        self.session_id = session_id
        self._store = store
        self._source = source
        self._segmenter = segmenter
        self._start_frame = start_frame
        self._frames_left = math.inf if max_frames is None else max_frames
        self._numbers = FrameNumbers()
        self._taken: dict[int, _Taken] = {}
        self._entries: deque[JournalEntry] = deque()
        self._cursor = 0
        self._is_paused = False
        self._is_cancelled = False
        self._last: _Taken | None = None
        self._num_processed = 0
        self._num_skipped = 0
        self._num_objects = 0
        self._rates = Rates()
        self._reported_s = 0.0
        self._writer = store.take_over(session_id)
        store.transition(session_id, SessionState.RUNNING, writer=self._writer)
        self._thread = threading.Thread(
            target=self._run, name=f"session-{session_id[:40]}", daemon=True
        )
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end, which closing it in the store brings about; whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # The session's thread.

    def _run(self) -> None:
        # What stands when an exception passes that nobody expects; Python reports its traceback.
        end = RunEnd(reason="failed", message="the session has failed by a defect of this program")
        try:
            end = self._serve()
        except SessionNotFoundError:
            end = RunEnd(reason="cancelled")  # it was deleted
        except MaskstreamError as error:
            end = RunEnd(reason="failed", message=error_text(error))
        finally:
            self._source.close()
            self._end(end)

    def _serve(self) -> RunEnd:
        """Frame after frame; how it ended."""
        while True:
            self._read_journal()
            if self._is_cancelled or self._is_closed():
                self._settle_waiting()
                break
            if self._is_paused:
                self._settle_without_frame()
                self._await_journal(_PAUSE_WAIT_S)
                continue
            frame = self._source.read(_FRAME_WAIT_S)
            if frame is None:
                if self._source.is_over:
                    break
                self._settle_without_frame()
                self._report()
                continue
            if frame.index < self._start_frame:
                self._num_skipped += 1
                continue
            self._step(frame)
            if self._frames_left <= 0:
                break
        self._publish(self._segmenter.flush())
        return RunEnd(reason="cancelled" if self._is_cancelled else "finished")

    def _step(self, live: LiveFrame) -> None:
        # Entries of the journal up to this moment hold from this frame on.
        self._read_journal()
        number = self._numbers.number(live.index)
        frame = Frame(number, live.pts_s, live.image)
        self._last = self._taken[number] = _Taken(
            live.index,
            live.epoch,
            live.wall_time_s,
            0.0 if live.gap is None else live.gap.lost_s,
        )
        while self._entries:
            self._settle(self._entries.popleft(), frame)
        ready = self._segmenter.step(frame)
        self._num_processed += 1
        self._frames_left -= 1
        self._publish(ready)
        self._report()

    def _publish(self, results: list[FrameResult]) -> None:
        for result in results:
            taken = self._taken.pop(result.frame_index)
            entry = ResultEntry(
                frame_index=taken.index,
                epoch=taken.epoch,
                step=taken.index,
                wall_s=taken.wall_s,
                gap_s=taken.gap_s,
                record=self._numbers.translate(result).to_record(),
            )
            self._store.publish_result(self.session_id, entry, writer=self._writer)
            self._rates.note(taken.wall_s)
            self._num_objects = len(result)

    def _report(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if not force and now_s - self._reported_s < _REPORT_EVERY_S:
            return
        self._reported_s = now_s
        stats = self._source.stats()
        dropped = {str(reason): count for reason, count in stats.dropped.items()}
        if self._num_skipped:
            dropped["before_start"] = self._num_skipped
        counters = Counters(decoded=stats.decoded, processed=self._num_processed, dropped=dropped)
        told: dict[str, Any] = self._rates.to_stats() | {
            "num_objects": self._num_objects,
            "source_state": str(stats.state),
            "last_fault": None if stats.last_fault is None else stats.last_fault.message,
            "queue": stats.waiting,
            "num_restarts": 0,
        }
        self._store.report(
            self.session_id,
            counters=counters,
            epoch=stats.epoch,
            stats=told,
            writer=self._writer,
        )

    def _end(self, end: RunEnd) -> None:
        """Say how it ended; its log, its state, and to those who wait for an answer."""
        last = self._last
        # Above the index of every frame, of which none is as large as this.
        step = 0 if last is None else last.index + 1
        epoch = 0 if last is None else last.epoch
        record = end.model_copy(update={"epoch": epoch}).to_detail()
        entry = ResultEntry(
            frame_index=0 if last is None else last.index,
            epoch=epoch,
            step=step,
            kind="end",
            wall_s=time.time(),
            record=record,
        )
        is_failed = end.reason == "failed"
        try:
            self._report(force=True)
            self._settle_waiting()
            self._store.publish_result(self.session_id, entry, writer=self._writer)
            if is_failed:
                self._transition(SessionState.FAILED, end.message)
            else:
                with suppress(SessionError):  # a client may be closing it at this moment
                    self._transition(SessionState.DRAINING)
                self._transition(SessionState.ENDED, end.reason)
        except MaskstreamError as error:
            # Deleted meanwhile, or the store is out of reach: nobody can be told.
            _LOG.warning("session %s has ended untold: %s", self.session_id, error)

    # The journal

    def _read_journal(self) -> None:
        page = self._store.read_journal(self.session_id, self._cursor)
        self._cursor = page.cursor
        for entry in page.entries:
            self._entries.append(entry)
            self._control(entry)

    def _await_journal(self, timeout_s: float) -> None:
        self._store.read_journal(self.session_id, self._cursor, count=1, timeout_s=timeout_s)

    def _control(self, entry: JournalEntry) -> None:
        """What takes effect at once; it is settled in its turn."""
        if entry.kind == "cancel":
            self._is_cancelled = True
        elif entry.kind in ("pause", "resume"):
            is_pause = entry.kind == "pause"
            if is_pause != self._is_paused:
                self._is_paused = is_pause
                state = SessionState.PAUSED if is_pause else SessionState.RUNNING
                self._transition(state)

    def _is_closed(self) -> bool:
        return not self._store.get_session(self.session_id).state.takes_prompts

    def _transition(self, state: SessionState, reason: str = "") -> None:
        self._store.transition(self.session_id, state, reason=reason, writer=self._writer)

    def _settle_without_frame(self) -> None:
        """Settle what needs no frame, up to the first entry that does."""
        while self._entries and not _needs_frame(self._entries[0]):
            self._settle(self._entries.popleft(), None)

    def _settle_waiting(self) -> None:
        """At the end: what needed a frame has none any more."""
        self._read_journal()
        while self._entries:
            self._settle(self._entries.popleft(), None)

    def _settle(self, entry: JournalEntry, frame: Frame | None) -> None:
        try:
            detail = self._apply(parse_command(entry.kind, entry.payload), frame).to_detail()
        except MaskstreamError as error:
            outcome = Outcome(rejection=error_text(error)[:4000])
        else:
            last = self._last
            next_index = self._start_frame if last is None else last.index + 1
            index = next_index if frame is None or last is None else last.index
            outcome = Outcome(frame_index=index, detail=detail)
        self._store.settle_entry(self.session_id, entry.sequence, outcome, writer=self._writer)

    def _apply(self, command: Command, frame: Frame | None) -> PromptDetail | SuccessDetail:
        segmenter = self._segmenter
        match command:
            case AddConcept():
                return PromptDetail(prompt_id=self._add_concept(command, frame))
            case AddObject():
                return PromptDetail(obj_id=self._add_object(command, frame))
            case RemoveObject():
                return SuccessDetail(is_success=segmenter.remove_object(command.obj_id))
            case RemovePrompt():
                known = any(c.prompt_id == command.prompt_id for c in segmenter.concepts)
                segmenter.remove_concept(command.prompt_id)
                return SuccessDetail(is_success=known)
            case Reset():
                self._publish(segmenter.flush())
                segmenter.reset()
                return SuccessDetail()
            case Pause() | Resume() | Cancel():
                return SuccessDetail()
        kind = type(command).__name__.lower()
        raise SessionError(
            f"session {self.session_id} runs by itself and cannot {kind}; follow it with "
            "stream_results"
        )

    def _add_concept(self, command: AddConcept, frame: Frame | None) -> int:
        if frame is None and command.boxes:
            raise _no_frame(self.session_id)
        height, width = (1, 1) if frame is None else frame.image.shape[:2]
        prompt = command.to_prompt(width, height)
        return self._segmenter.add_concept(
            prompt.text, frame=frame, boxes=prompt.boxes, box_labels=prompt.box_labels
        )

    def _add_object(self, command: AddObject, frame: Frame | None) -> int:
        if frame is None:
            raise _no_frame(self.session_id)
        height, width = frame.image.shape[:2]
        prompt = command.to_prompt(width, height)
        return self._segmenter.add_object(
            frame,
            obj_id=prompt.obj_id,
            points=prompt.points or None,
            point_labels=prompt.point_labels or None,
            box=prompt.box,
            mask=prompt.mask,
            clear_old_points=prompt.clear_old_points,
        )


def _needs_frame(entry: JournalEntry) -> bool:
    return entry.kind == "add_object" or (
        entry.kind == "add_concept" and bool(entry.payload.get("boxes"))
    )


def _no_frame(session_id: str) -> PromptError:
    return PromptError(
        f"session {session_id} is over, and no frame came on which the prompt could be shown"
    )
