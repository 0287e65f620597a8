"""The loop that serves a session: it tracks frames, publishes results, and applies prompts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from maskstream.core.error_text import error_text
from maskstream.core.errors import (
    MaskstreamError,
    PromptError,
    SessionError,
    SessionNotFoundError,
    StoreError,
)
from maskstream.pipeline.api.commands import Command, Reset, parse_command
from maskstream.pipeline.api.outcomes import RunEnd
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.applying import (
    CANCELLED,
    Applied,
    Applier,
    no_frame,
    no_more_frames,
)
from maskstream.pipeline.session.journal import Position
from maskstream.pipeline.session.ledger import CLOSED
from maskstream.pipeline.session.lifecycle import Lifecycle, Over
from maskstream.pipeline.session.lookahead import Lookahead
from maskstream.pipeline.session.opening import RunnerConfig, open_session
from maskstream.pipeline.session.ports import Arrival, Decoder, SessionTools
from maskstream.pipeline.session.run import Pass, Run
from maskstream.pipeline.session.saving import Saver
from maskstream.pipeline.session.settling import Settler
from maskstream.pipeline.store import JournalEntry, SessionState, SessionStore

_FRAME_WAIT_S = 0.1
_FIRST_NOTE_S = 30.0


class SessionRunner:
    """Serves one session from its checkpoint, or from the start, until it is over.

    Promises: frames are tracked in order. Each result is published once. A journal entry takes
    effect between two frames, and its outcome is written before the next frame. A run that fails
    publishes its held-back results first. The process may die at any time: another runner continues
    from the store. If the source can be read again, that runner repeats the frames since the
    checkpoint, with the same results to the bit. A propagation waits for its reader before the log
    of results would drop anything unread.

    Args:
        store: the session store.
        session_id: the session to serve.
        tools: the model that sessions share.
        config: how sessions are served.
        start_decoder: starts a decoder for the session's source.
        stop: when set, the runner saves the session and leaves it.
    """

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        tools: SessionTools,
        config: RunnerConfig,
        start_decoder: Callable[[], Decoder],
        stop: threading.Event,
    ) -> None:
        self._config = config
        self._stop = stop
        session = open_session(store, session_id, tools, config, start_decoder)
        self._session = session
        self._store, self._id = store, session_id
        self._state, self._log = session.state, session.log
        self._journal, self._intake = session.journal, session.intake
        self._saver = Saver(session, config.checkpoint_every_s)
        self._ahead = Lookahead(session.intake, session.detection, config.depth)
        self._settler = Settler(session, self._saver, self._apply)
        self._lifecycle = Lifecycle(session, config.look_every_s)
        self._applier = Applier(
            session.state,
            session.detection,
            session.intake,
            runs_by_itself=session.runs_by_itself,
            next_frame=self._next_frame,
            next_index=self._next_index,
            cursor=lambda: self._log.sequence,
        )

    # The loop

    def run(self) -> str:
        """Serve the session, once; returns how it ended.

        One of ``ended``, ``failed``, ``gone``, ``superseded`` (another process serves it) and
        ``stopped``.
        """
        try:
            self._begin()
            while True:
                self._turn()
        except Over as over:
            return str(over)
        except SessionNotFoundError:
            return "gone"
        except StoreError:
            raise
        except MaskstreamError as error:
            return self._lifecycle.fail(error)
        finally:
            self._ahead.clear()
            self._intake.close()
            # They call this runner, which holds them. Without the ring, all memories are freed as
            # soon as the runner is left, not at some later garbage collection.
            del self._applier, self._settler

    def _begin(self) -> None:
        self._look()
        session, state = self._session, self._state
        if session.runs_by_itself and state.run is None:
            has_no_start = session.is_live or session.is_pushed
            start = 0 if has_no_start else session.options.start_frame
            state.run = Run("free", [Pass(0, start, False, session.options.max_frames)])
        self._go_to(state.run)
        if session.runs_by_itself:
            self._intake.wait_first(_FIRST_NOTE_S)
            if self._intake.failure is not None and state.run is not None:
                self._finish_pass(state.run)
        else:
            self._intake.read(0)  # raises if the source cannot be opened
        if self._store.get_session(self._id).state == SessionState.STARTING:
            self._lifecycle.change_state(SessionState.RUNNING)

    def _go_to(self, run: Run | None) -> None:
        """Make the source continue at the run's next frame."""
        if run is not None and run.passes:
            self._intake.begin(run.next_index, reverse=run.current.reverse)

    def _turn(self) -> None:
        """Do one thing: apply a journal entry, advance the run, or wait."""
        if self._stop.is_set():
            self._drain()
            self._saver.save()
            raise Over("stopped")
        self._look()
        entry = self._journal.next_due(self._position())
        if entry is not None:
            self._drain()
            self._deal_with(entry)
        elif self._state.run is None or self._state.is_paused or self._is_ahead_of_reader():
            self._idle()
        else:
            self._advance(self._state.run)
        self._saver.save_if_due()

    def _is_ahead_of_reader(self) -> bool:
        """Whether a run has to wait until its client has read on."""
        if self._session.runs_by_itself:
            return False
        most = min(self._config.max_unread, self._session.record.limits.max_results // 2)
        return self._log.sequence - self._lifecycle.read_sequence >= max(1, most)

    def _position(self) -> Position:
        """Position of the next frame that goes into detection."""
        run = self._state.run
        if run is None or not run.passes:
            return self._state.epoch, self._state.idle_step
        index = run.next_index
        newest = self._ahead.newest
        if newest is not None:
            index = newest.index - 1 if run.current.reverse else newest.index + 1
        return run.current.epoch, run.step_of(index)

    def _idle(self) -> None:
        self._drain()
        is_paused_live = self._state.is_paused and self._session.is_live
        if self._session.is_live and self._log.is_report_due:
            self._intake.update_account()
        self._report()
        if self._journal.next_due(self._position(), self._config.look_every_s) is not None:
            self._lifecycle.note_used()
        elif is_paused_live:
            return
        elif self._lifecycle.unused_s > self._session.record.limits.expire_after_s:
            self._lifecycle.expire()

    def _advance(self, run: Run) -> None:
        """Send a frame to detection, track a detected one, or end the pass."""
        if run.cancelled:
            self._drain()
            if self._state.run is run:
                self._finish_run(run, "cancelled")
            return
        if not run.passes:
            self._finish_run(run, "finished")
            return
        most = run.current.max_frames
        is_enough = most is not None and run.num_stepped + len(self._ahead) >= most
        if not is_enough and self._ahead.wants_more:
            if self._ahead.submit_next(self._state.tracking.concepts):
                return
            if self._ahead.wants_more and not self._ahead.wait(_FRAME_WAIT_S):
                self._report()
                return
        if len(self._ahead):
            self._step(run)
        elif is_enough or self._intake.is_over:
            self._finish_pass(run)

    def _finish_pass(self, run: Run) -> None:
        self._publish(self._state.tracking.flush())
        failure, most = None, run.current.max_frames
        if most is None or run.num_stepped < most:
            failure = self._intake.failure
        if failure is not None:
            self._finish_run(run, "failed", error_text(failure))
            if self._intake.has_no_decoder:
                self._end(SessionState.FAILED, error_text(failure))
        elif run.is_last_pass:
            self._finish_run(run, "finished")
        else:
            run.begin_next_pass()
            self._go_to(run)
        self._saver.is_changed = True

    def _epoch_of(self, run: Run) -> int:
        if self._session.runs_by_itself:
            return self._session.epoch
        return run.current.epoch if run.passes else self._state.epoch + 1

    def _finish_run(self, run: Run, reason: str, message: str = "") -> None:
        """Publish the held-back results and the end of the run."""
        state, epoch = self._state, self._epoch_of(run)
        self._ahead.clear()
        self._publish(state.tracking.flush())
        step = run.step_of(run.next_index) if run.passes else 0
        if self._session.runs_by_itself:
            step = max(step, self._last_published_step() + 1)
        self._log.ledger.abandon_held(CLOSED)
        self._report(now=True)  # before the end, so that its readers find the final statistics
        end = RunEnd.model_validate({"reason": reason, "message": message, "epoch": epoch})
        self._log.end_run(epoch, step, run.last_index, end)
        state.run, state.epoch, state.idle_step = None, epoch, step + 1
        self._saver.is_changed = True
        if self._session.runs_by_itself:
            self._end(SessionState.FAILED if reason == "failed" else SessionState.ENDED, message)

    def _last_published_step(self) -> int:
        """The last step that was published in the newest epoch; -1 if there is none."""
        last = self._store.get_session(self._id).last_result
        return last[1] if last is not None and last[0] == self._session.epoch else -1

    # Frames

    def _step(self, run: Run) -> None:
        """Track the oldest frame in flight and publish the results that are ready.

        If the frame's detection or tracking fails, the run ends and the session continues: the
        tracker is as it was before that frame.
        """
        try:
            ready = self._track_oldest(run)
        except (SessionError, StoreError):
            raise
        except MaskstreamError as error:
            self._finish_run(run, "failed", error_text(error))
            return
        self._saver.is_changed = True
        self._publish(ready)
        self._report()

    def _track_oldest(self, run: Run) -> list[FrameResult]:
        frame, detected = self._ahead.take()
        session, stamp, reverse = self._session, frame.stamp, run.current.reverse
        if not session.is_live:
            stamp = replace(stamp, epoch=run.current.epoch)
        if session.runs_by_itself:
            session.epoch = stamp.epoch
        ready = self._state.tracking.step(
            self._state.as_tracker_counts(stamp),
            detected.features,
            detected.detections,
            reverse=reverse,
        )
        self._log.expect(stamp, run.step_of(stamp.index))
        run.note_stepped(stamp.index)
        return ready

    def _publish(self, ready: list[FrameResult]) -> None:
        for result in ready:
            self._log.publish(self._state.as_source_counts(result))

    def _drain(self) -> None:
        """Track all frames in flight, so that the state is between two frames."""
        while (run := self._state.run) is not None and len(self._ahead):
            self._step(run)

    def _next_frame(self) -> Arrival:
        """Wait for the next frame, for a prompt on it; see ``Applier``."""
        deadline_s = time.monotonic() + self._config.frame_wait_s
        while time.monotonic() < deadline_s:
            frame = self._intake.peek(_FRAME_WAIT_S)
            if frame is not None:
                return frame
            if self._intake.is_end or self._intake.failure is not None:
                raise no_more_frames()
            if self._stop.is_set():
                raise Over("stopped")
            self._heed_controls()
            self._look()
        raise no_frame(self._config.frame_wait_s)

    def _heed_controls(self) -> None:
        """Look for commands behind a prompt that waits for a frame.

        Pausing and resuming change the session's state in the store at once; their entries are
        settled in their turn.

        Raises:
            PromptError: the prompt is cancelled.
        """
        kinds = self._journal.kinds_behind()
        if "cancel" in kinds:
            raise PromptError(CANCELLED)
        controls = [kind for kind in kinds if kind in ("pause", "resume")]
        if controls:
            is_pause = controls[-1] == "pause"
            self._lifecycle.change_state(SessionState.PAUSED if is_pause else SessionState.RUNNING)

    def _next_index(self) -> int:
        """Index of the first frame that a command without a frame takes effect on."""
        frame = self._intake.peek(0.0) if self._session.runs_by_itself else None
        if frame is not None:
            return frame.stamp.index
        run = self._state.run
        if run is not None and run.passes:
            return max(0, run.next_index)
        return 0 if self._state.first_prompted is None else self._state.first_prompted

    # Journal entries

    def _deal_with(self, entry: JournalEntry) -> None:
        self._lifecycle.note_used()
        position = self._position()
        was_paused, old_run = self._state.is_paused, self._state.run
        if entry.outcome is None:
            self._settler.settle(entry, position)
        elif entry.outcome.rejection is None:
            self._apply(parse_command(entry.kind, entry.payload))
        self._journal.finish(entry)
        self._saver.is_changed = True
        if self._state.run is not old_run:
            self._go_to(self._state.run)
        if was_paused != self._state.is_paused:
            to = SessionState.PAUSED if self._state.is_paused else SessionState.RUNNING
            self._lifecycle.change_state(to)

    def _apply(self, command: Command) -> Applied:
        if isinstance(command, Reset) and self._session.runs_by_itself:
            self._publish(self._state.tracking.flush())  # results before the reset stay
        return self._applier.apply(command)

    # The session in the store

    def _look(self) -> None:
        """See, now and then, what became of the session.

        Raises:
            Over: it is over, or another process serves it.
        """
        if not self._lifecycle.look():
            return
        self._drain()
        run = self._state.run
        if run is not None:
            self._finish_run(run, "cancelled")
        self._end(SessionState.ENDED, "closed")

    def _report(self, *, now: bool = False) -> None:
        session = self._session
        epoch = session.epoch if session.runs_by_itself else session.state.epoch
        self._log.report({"num_restarts": session.num_restarts}, epoch, now=now)

    def _end(self, to: SessionState, reason: str) -> None:
        """Report the last figures, and end the session.

        Raises:
            Over: always.
        """
        self._intake.close_account()
        self._report(now=True)
        self._lifecycle.end(to, reason)
