"""One session, served: frames in order through detection and tracking into the log of results."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from maskstream.core.errors import (
    MaskstreamError,
    PromptError,
    SessionError,
    SessionNotFoundError,
    StoreError,
)
from maskstream.pipeline.api.commands import Command, Reset, RunEnd, error_text, parse_command
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.applying import (
    CANCELLED,
    Applied,
    Applier,
    Settler,
    no_frame,
    no_more_frames,
)
from maskstream.pipeline.session.intake import Arrival
from maskstream.pipeline.session.journal import Position
from maskstream.pipeline.session.ledger import CLOSED
from maskstream.pipeline.session.lookahead import Lookahead
from maskstream.pipeline.session.opening import RunnerConfig, open_session
from maskstream.pipeline.session.run import Leg, Run
from maskstream.pipeline.session.saving import Saver
from maskstream.pipeline.store import JournalEntry, SessionStore
from maskstream.pipeline.store import (
    SessionState as Phase,
)
from maskstream.workers.track import Tools

_LOG = logging.getLogger("maskstream.runtime")

_LOOK_EVERY_S = 0.2
_IDLE_WAIT_S = 0.25
_SILENCE_WAIT_S = 0.1
_FIRST_WORD_S = 30.0


class _Over(Exception):  # noqa: N818
    """The session is to be left; says how."""


class SessionRunner:
    """Serves one session from its checkpoint, or from the start, until it is over.

    Promises: frames are stepped over in order; each result is published once; an entry of the
    journal takes effect between two frames, and is settled before the next. Everything can be
    lost at any moment: another runner goes on from the store, and, where the source can be read
    again, repeats to the bit what has been done since the checkpoint.

    Args:
        start_decoder: starts a decode worker for the session's source.
        stop: set to have the session left as it is.
    """

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        tools: Tools,
        config: RunnerConfig,
        start_decoder: Callable[[], Any],
        stop: threading.Event,
    ) -> None:
        self._config = config
        self._stop = stop
        session = open_session(store, session_id, tools, config, start_decoder)
        self._session = session
        self._store, self._id, self._writer = store, session_id, session.writer
        self._state, self._log = session.state, session.log
        self._journal, self._intake = session.journal, session.intake
        self._is_free, self._is_live = session.is_free, session.is_live
        self._saver = Saver(session, config.checkpoint_every_s)
        self._ahead = Lookahead(session.intake, session.detector, config.depth)
        self._settler = Settler(session, self._saver, self._apply)
        self._looked_s = 0.0
        self._used_s = time.monotonic()
        self._applier = Applier(
            session.state,
            session.detector,
            session.intake,
            is_free=session.is_free,
            next_frame=self._next_frame,
            next_index=self._next_index,
            cursor=lambda: self._log.sequence,
        )

    # The course of a session

    def run(self) -> str:
        """Serve it; how it went: ended, failed, gone, superseded or stopped."""
        try:
            self._begin()
            while True:
                self._turn()
        except _Over as over:
            return str(over)
        except SessionNotFoundError:
            return "gone"
        except StoreError:
            raise
        except MaskstreamError as error:
            return self._fail(error)
        finally:
            self._ahead.clear()
            self._intake.close()

    def _begin(self) -> None:
        self._look()
        state = self._state
        if self._is_free and state.run is None:
            start = (
                0 if self._is_live or self._session.is_pushed else self._session.options.start_frame
            )
            state.run = Run("free", [Leg(0, start, False)], self._session.options.max_frames)
        if state.run is not None and state.run.legs:
            self._intake.begin(state.run.next_index, reverse=state.run.current.reverse)
        if self._is_free:
            self._intake.hear(_FIRST_WORD_S)
            if self._intake.failure is not None and state.run is not None:
                self._finish_leg(state.run)
        else:
            self._intake.read(0)  # the source can be opened, or the session fails with the reason
        if self._store.get_session(self._id).state == Phase.STARTING:
            self._change_state(Phase.RUNNING)

    def _turn(self) -> None:
        """Do the next thing: a journal entry, a frame, or waiting for one."""
        if self._stop.is_set():
            self._drain()
            self._saver.save()
            raise _Over("stopped")
        self._look()
        entry = self._journal.next_due(self._position())
        if entry is not None:
            self._drain()
            self._deal_with(entry)
        elif self._state.run is None or self._state.is_paused:
            self._idle()
        else:
            self._advance(self._state.run)
        self._saver.save_now_and_then()

    def _position(self) -> Position:
        """Of the next frame to be begun."""
        state = self._state
        run = state.run
        if run is None or not run.legs:
            return state.epoch, state.idle_step
        index = run.next_index
        newest = self._ahead.newest
        if newest is not None:
            index = newest.index - 1 if run.current.reverse else newest.index + 1
        return run.current.epoch, run.step_of(index)

    def _idle(self) -> None:
        self._drain()
        state = self._state
        if self._is_live and self._log.is_report_due:
            self._intake.look()
        self._report()
        if self._journal.next_due(self._position(), _IDLE_WAIT_S) is not None:
            self._used_s = time.monotonic()
        elif state.is_paused and self._is_live:
            return
        elif time.monotonic() - self._used_s > self._session.record.limits.expire_after_s:
            self._store.delete_session(self._id)
            raise _Over("gone")

    def _advance(self, run: Run) -> None:
        """Take one frame farther on its way."""
        if run.cancelled:
            self._drain()
            self._finish_run(run, RunEnd(reason="cancelled", epoch=self._epoch_of(run)))
            return
        if not run.legs:
            self._finish_run(run, RunEnd(reason="finished", epoch=self._epoch_of(run)))
            return
        most = run.max_frames
        is_enough = most is not None and run.num_stepped + len(self._ahead) >= most
        if not is_enough and self._ahead.wants_more:
            if self._ahead.begin_next(self._state.tracking.concepts):
                return
            if self._ahead.wants_more and not self._ahead.wait(_SILENCE_WAIT_S):
                self._report()
                return
        if len(self._ahead):
            self._step(run)
        elif is_enough or self._intake.is_over:
            self._finish_leg(run)

    def _finish_leg(self, run: Run) -> None:
        self._publish(self._state.tracking.flush())
        failure = None
        if run.max_frames is None or run.num_stepped < run.max_frames:
            failure = self._intake.failure
        epoch = self._epoch_of(run)
        if failure is not None:
            text = error_text(failure)
            self._finish_run(run, RunEnd(reason="failed", message=text, epoch=epoch))
        elif run.is_last_leg:
            self._finish_run(run, RunEnd(reason="finished", epoch=epoch))
        else:
            run.begin_next_leg()
            self._intake.begin(run.next_index, reverse=run.current.reverse)
        self._saver.is_changed = True

    def _epoch_of(self, run: Run) -> int:
        if self._is_free:
            return self._session.epoch
        return run.current.epoch if run.legs else self._state.epoch + 1

    def _finish_run(self, run: Run, end: RunEnd) -> None:
        state = self._state
        self._publish(state.tracking.flush())
        step = run.step_of(run.next_index) if run.legs else 0
        if self._is_free and self._record_last_step() >= step:
            step = self._record_last_step() + 1
        self._log.ledger.abandon_held(CLOSED)
        epoch = self._epoch_of(run)
        self._log.end_run(epoch, step, run.last_index, end)
        state.run, state.epoch, state.idle_step = None, epoch, step + 1
        self._saver.is_changed = True
        if self._is_free:
            self._end(Phase.FAILED if end.reason == "failed" else Phase.ENDED, end.message)

    def _record_last_step(self) -> int:
        """The last step that the log has in the newest epoch; -1 for none."""
        last = self._store.get_session(self._id).last_result
        return last[1] if last is not None and last[0] == self._session.epoch else -1

    # Frames

    def _step(self, run: Run) -> None:
        """Take the oldest frame in flight through the tracker."""
        arrival, answer = self._ahead.take()
        note = arrival.note
        epoch = note.epoch if self._is_live else run.current.epoch
        self._session.epoch = epoch if self._is_free else self._session.epoch
        self._log.expect(note, epoch, run.step_of(note.index))
        reverse = run.current.reverse
        tracking = self._state.tracking
        place = self._state.tracker_place(arrival.place)
        ready = tracking.step(place, answer.features, answer.detections, reverse=reverse)
        run.note_stepped(note.index)
        self._saver.is_changed = True
        self._publish(ready)
        self._report()

    def _publish(self, ready: list[FrameResult]) -> None:
        for result in ready:
            self._log.publish(self._state.told(result))
        if ready:
            alive = {masklet.obj_id for masklet in self._state.tracking.tracker.masklets}
            self._log.note_removed(alive)
            self._log.write_objects(all_of_them=False)

    def _drain(self) -> None:
        """Finish what is in flight, so that the state is that between two frames."""
        run = self._state.run
        while run is not None and len(self._ahead):
            self._step(run)

    def _next_frame(self) -> Arrival:
        """The frame that will be begun next, for a prompt on it."""
        deadline_s = time.monotonic() + self._config.frame_wait_s
        while time.monotonic() < deadline_s:
            arrival = self._intake.peek(_SILENCE_WAIT_S)
            if arrival is not None:
                return arrival
            if self._intake.is_end or self._intake.failure is not None:
                raise no_more_frames()
            if self._stop.is_set():
                raise _Over("stopped")
            if self._journal.holds("cancel"):
                raise PromptError(CANCELLED)
            self._look()
        raise no_frame(self._config.frame_wait_s)

    def _next_index(self) -> int:
        """The first frame index that nothing has been decided on yet."""
        arrival = self._intake.peek(0.0) if self._is_free else None
        if arrival is not None:
            return arrival.note.index
        run = self._state.run
        if run is not None and run.legs:
            return max(0, run.next_index)
        return 0 if self._state.first_prompted is None else self._state.first_prompted

    # Entries

    def _deal_with(self, entry: JournalEntry) -> None:
        self._used_s = time.monotonic()
        position = self._position()
        was_running, old_run = not self._state.is_paused, self._state.run
        if entry.outcome is not None:
            if entry.outcome.rejection is None:
                self._apply(parse_command(entry.kind, entry.payload))
        else:
            self._settler.settle(entry, position)
        self._journal.finish(entry)
        self._saver.is_changed = True
        run = self._state.run
        if run is not None and run is not old_run and run.legs:
            self._intake.begin(run.next_index, reverse=run.current.reverse)
        if was_running == self._state.is_paused:
            self._change_state(Phase.PAUSED if self._state.is_paused else Phase.RUNNING)

    def _apply(self, command: Command) -> Applied:
        if isinstance(command, Reset) and self._is_free:
            self._publish(self._state.tracking.flush())  # what was seen until now stands
        return self._applier.apply(command)

    # The session's state in the store

    def _look(self) -> None:
        """Now and then, see what became of the session.

        Raises:
            _Over: it is over, or somebody else's.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        record = self._store.get_session(self._id)
        if record.writer != self._writer:
            raise _Over("superseded")
        if record.state.is_over:
            raise _Over(str(record.state))
        if record.state == Phase.DRAINING:
            self._drain()
            run = self._state.run
            if run is not None:
                self._finish_run(run, RunEnd(reason="cancelled", epoch=self._epoch_of(run)))
            self._end(Phase.ENDED, "closed")

    def _report(self, *, now: bool = False) -> None:
        session = self._session
        epoch = session.epoch if session.is_free else session.state.epoch
        self._log.report({"num_restarts": session.num_restarts}, epoch, now=now)

    def _change_state(self, to: Phase) -> None:
        if self._journal.is_replaying or self._store.get_session(self._id).state == to:
            return
        self._store.transition(self._id, to, writer=self._writer)

    def _end(self, to: Phase, reason: str) -> None:
        """Tell the last figures, and end.

        Raises:
            _Over: always.
        """
        self._intake.close_account()
        self._report(now=True)
        if to == Phase.ENDED and self._store.get_session(self._id).state != Phase.DRAINING:
            with contextlib.suppress(SessionError):  # its client has closed it this very moment
                self._store.transition(self._id, Phase.DRAINING, writer=self._writer)
        self._store.transition(self._id, to, reason=reason, writer=self._writer)
        raise _Over(str(to))

    def _fail(self, error: MaskstreamError) -> str:
        """The session cannot go on for a reason of its own."""
        record = self._store.get_session(self._id)
        if record.writer != self._writer:
            return "superseded"
        if record.state.is_over:
            return str(record.state)
        self._store.transition(
            self._id, Phase.FAILED, reason=error_text(error), writer=self._writer
        )
        return str(Phase.FAILED)
