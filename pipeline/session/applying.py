"""What the entries of a journal do to a session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskstream.core.errors import (
    MaskstreamError,
    PromptError,
    SessionError,
    SessionLimitError,
    SessionNotFoundError,
    SourceError,
    StoreError,
)
from maskstream.pipeline.api.commands import (
    AddConcept,
    AddObject,
    Cancel,
    Command,
    Pause,
    PromptDetail,
    Propagate,
    PropagateDetail,
    RemoveObject,
    RemovePrompt,
    Reset,
    Resume,
    SuccessDetail,
    error_text,
    parse_command,
)
from maskstream.pipeline.session.detection import Detector
from maskstream.pipeline.session.intake import Arrival, Intake
from maskstream.pipeline.session.journal import Position
from maskstream.pipeline.session.opening import OpenSession
from maskstream.pipeline.session.run import Leg, Run
from maskstream.pipeline.session.saving import Saver
from maskstream.pipeline.session.state import SessionState
from maskstream.pipeline.store import Checkpoint, JournalEntry, Outcome
from maskstream.pipeline.video.tracking import shown_exemplar

_LOG = logging.getLogger("maskstream.session")
_REASON_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Applied:
    """What an entry did.

    Attributes:
        frame_index: the frame from which it holds.
        detail: for the outcome.
        used_frame: it was drawn on a frame, which a live source does not give again.
    """

    frame_index: int
    detail: dict[str, Any]
    used_frame: bool = False


class Applier:
    """Applies commands between two frames, when nothing is in flight.

    Args:
        is_free: the session runs by itself; prompts then go to the next frame.
        next_frame: that frame, waited for; raises SourceError when none comes.
        next_index: the index from which something holds that needs no frame.
        cursor: of the log of results.
    """

    def __init__(
        self,
        state: SessionState,
        detector: Detector,
        intake: Intake,
        *,
        is_free: bool,
        next_frame: Callable[[], Arrival],
        next_index: Callable[[], int],
        cursor: Callable[[], int],
    ) -> None:
        self._state = state
        self._detector = detector
        self._intake = intake
        self._is_free = is_free
        self._next_frame = next_frame
        self._next_index = next_index
        self._cursor = cursor

    def apply(self, command: Command) -> Applied:
        """Do what a command says; when it raises, nothing has changed.

        Raises:
            InputError, SessionError, SourceError: it cannot be done.
        """
        match command:
            case AddConcept():
                return self._add_concept(command)
            case AddObject():
                return self._add_object(command)
            case RemovePrompt():
                return self._told(self._remove_prompt(command.prompt_id))
            case RemoveObject():
                return self._told(self._state.tracking.remove_object(command.obj_id))
            case Propagate():
                return self._propagate(command)
            case Reset():
                return self._reset()
            case Pause():
                return self._told(self._pause(True))
            case Resume():
                return self._told(self._pause(False))
            case Cancel():
                return self._told(self._cancel())
        raise SessionError(f"this runtime does not know {type(command).__name__}")

    def _told(self, is_success: bool) -> Applied:
        return Applied(self._next_index(), SuccessDetail(is_success=is_success).to_detail())

    # Prompts

    def _add_concept(self, command: AddConcept) -> Applied:
        tracking = self._state.tracking
        if command.text is not None:
            self._detector.check_text(command.text)
        if self._is_free and not command.boxes:
            prompt_id = tracking.add_concept(command.text)
            return Applied(self._next_index(), PromptDetail(prompt_id=prompt_id).to_detail())
        arrival = self._frame(command.frame_index)
        height, width = arrival.note.size
        prompt = command.to_prompt(width, height)
        exemplars = None
        if prompt.boxes:
            shown = shown_exemplar(prompt.boxes, prompt.box_labels)
            exemplars = self._detector.answer(arrival.image, [], shown).exemplar
        prompt_id = tracking.add_concept(prompt.text, exemplars)
        if self._is_free:
            detail = PromptDetail(prompt_id=prompt_id)
            return Applied(arrival.note.index, detail.to_detail(), used_frame=True)
        answer = self._detector.answer(arrival.image, [tracking.concept(prompt_id)])
        tracking.start_found(arrival.place, answer.features, answer.detections)
        record = tracking.at(arrival.place).to_record()
        self._state.note_prompted(arrival.note.index)
        detail = PromptDetail(prompt_id=prompt_id, record=record)
        return Applied(arrival.note.index, detail.to_detail(), used_frame=True)

    def _add_object(self, command: AddObject) -> Applied:
        tracking = self._state.tracking
        arrival = self._frame(command.frame_index)
        height, width = arrival.note.size
        prompt = command.to_prompt(width, height)
        answer = self._detector.answer(arrival.image, [])
        obj_id = tracking.add_object(
            self._state.tracker_place(arrival.place),
            answer.features,
            obj_id=prompt.obj_id,
            points=prompt.points or None,
            point_labels=prompt.point_labels or None,
            box=prompt.box,
            mask=prompt.mask,
            clear_old_points=prompt.clear_old_points,
        )
        record = None if self._is_free else tracking.at(arrival.place).to_record()
        self._state.note_prompted(arrival.note.index)
        detail = PromptDetail(obj_id=obj_id, record=record)
        return Applied(arrival.note.index, detail.to_detail(), used_frame=True)

    def _frame(self, index: int | None) -> Arrival:
        """The frame that a prompt is for."""
        if self._is_free:
            return self._next_frame()
        if index is None:
            index = self._state.first_prompted or 0
        return self._intake.read(index)

    def _remove_prompt(self, prompt_id: int) -> bool:
        tracking = self._state.tracking
        known = any(concept.prompt_id == prompt_id for concept in tracking.concepts)
        tracking.remove_concept(prompt_id)
        return known

    # The course of the session

    def _propagate(self, command: Propagate) -> Applied:
        state = self._state
        if self._is_free:
            raise SessionError("this session runs by itself; there is nothing to propagate")
        if state.run is not None:
            raise SessionError(
                "the session is propagating already; finish or cancel that propagation first"
            )
        if state.first_prompted is None:
            raise SessionError("the session has no prompt; add one before propagating")
        start = command.start_frame_index
        start = state.first_prompted if start is None else start
        self._intake.read(start)  # there is such a frame
        legs = []
        if command.direction != "backward":
            legs.append(Leg(state.epoch + 1, start, reverse=False))
        if command.direction != "forward" and start > 0:
            legs.append(Leg(state.epoch + len(legs) + 1, start - 1, reverse=True))
        first = state.epoch + 1
        last = max(first, state.epoch + len(legs))
        state.run = Run("driven", legs, command.max_frames)
        detail = PropagateDetail(cursor=self._cursor(), epochs=(first, last))
        return Applied(start, detail.to_detail())

    def _reset(self) -> Applied:
        told = self._told(True)
        self._state.reset()
        if self._state.run is not None and not self._is_free:
            self._state.run.cancelled = True
        return told

    def _pause(self, pause: bool) -> bool:
        changed = self._state.is_paused != pause
        self._state.is_paused = pause
        return changed

    def _cancel(self) -> bool:
        run = self._state.run
        if run is None:
            return False
        run.cancelled = True
        return True


CANCELLED = "cancelled before a frame came that this prompt could be applied on"
NO_FRAME = "no frame has come from the source for {seconds:g} s, and this prompt needs one"


def no_frame(seconds: float) -> SourceError:
    """A prompt waited for a frame in vain."""
    return SourceError(NO_FRAME.format(seconds=seconds))


def no_more_frames() -> PromptError:
    """A prompt came after the last frame."""
    return PromptError("the source has ended; there is no frame left to apply this prompt on")


class Settler:
    """Settles entries, each once.

    Args:
        apply: does what a command says; when it raises, nothing has changed.
    """

    def __init__(
        self, session: OpenSession, saver: Saver, apply: Callable[[Command], Applied]
    ) -> None:
        self._session = session
        self._saver = saver
        self._apply = apply

    def settle(self, entry: JournalEntry, position: Position) -> None:
        """Apply an entry and write its outcome, with where that was.

        Raises:
            StoreError: the store is out of reach; the entry is applied again, by who goes on.
            SessionNotFoundError: the session is gone.
        """
        at = {"at": list(position)}
        saved = None
        try:
            applied = self._apply(parse_command(entry.kind, entry.payload))
        except (StoreError, SessionNotFoundError):
            raise
        except MaskstreamError as error:
            outcome = Outcome(rejection=error_text(error)[:_REASON_CHARACTERS], detail=at)
        else:
            outcome = Outcome(frame_index=applied.frame_index, detail=applied.detail | at)
            if applied.used_frame and self._session.is_live:
                # That frame will not come again, so what it gave is kept with the outcome.
                saved = self._saver.checkpoint(entry.sequence)
        try:
            self._write(entry, outcome, saved)
        except SessionLimitError:
            _LOG.warning(
                "session %s: the checkpoint is too large to go with a prompt",
                self._session.session_id,
            )
            self._write(entry, outcome, None)

    def _write(self, entry: JournalEntry, outcome: Outcome, saved: Checkpoint | None) -> None:
        session = self._session
        session.store.settle_entry(
            session.session_id, entry.sequence, outcome, checkpoint=saved, writer=session.writer
        )
