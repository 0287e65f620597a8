"""Applies the commands of a session's journal to its state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskstream.core.errors import PromptError, SessionError, SourceError
from maskstream.detector.frames import Concept, DetectedFrame
from maskstream.detector.prompts import Exemplar
from maskstream.pipeline.api.commands import (
    AddConcept,
    AddObject,
    Cancel,
    Command,
    Pause,
    Propagate,
    RemoveObject,
    RemovePrompt,
    Reset,
    Resume,
)
from maskstream.pipeline.api.doubts import doubts_of
from maskstream.pipeline.api.outcomes import (
    PromptDetail,
    PropagateDetail,
    RemovedDetail,
    SuccessDetail,
)
from maskstream.pipeline.session.intake import Intake
from maskstream.pipeline.session.ports import Arrival, Detection
from maskstream.pipeline.session.run import Pass, Run
from maskstream.pipeline.session.state import CheckpointedState
from maskstream.pipeline.video.tracking import shown_exemplar


@dataclass(frozen=True, slots=True)
class Applied:
    """What a command did.

    Attributes:
        frame_index: the frame from which on the command takes effect.
        detail: what the outcome says, as JSON values.
        used_frame: the command needed a frame, which a live source does not give again.
    """

    frame_index: int
    detail: dict[str, Any]
    used_frame: bool = False


class Applier:
    """Applies commands between two frames, when no frame is in flight.

    Args:
        state: the session's state, which commands change.
        detection: detects in the frames that prompts need.
        intake: reads frames by index.
        runs_by_itself: prompts are applied on the next frame, whatever frame they name.
        next_frame: waits for the next frame and returns it. Raises SourceError if none comes in
            time, and PromptError if none will come or the prompt is cancelled.
        next_index: returns the frame from which on a command without a frame takes effect.
        cursor: returns the sequence of the newest result.
    """

    def __init__(
        self,
        state: CheckpointedState,
        detection: Detection,
        intake: Intake,
        *,
        runs_by_itself: bool,
        next_frame: Callable[[], Arrival],
        next_index: Callable[[], int],
        cursor: Callable[[], int],
    ) -> None:
        self._state = state
        self._detection = detection
        self._intake = intake
        self._runs_by_itself = runs_by_itself
        self._next_frame = next_frame
        self._next_index = next_index
        self._cursor = cursor

    def apply(self, command: Command) -> Applied:
        """Apply a command. If this raises, the state is unchanged.

        Raises:
            InputError, SessionError, SourceError: the command cannot be applied.
        """
        match command:
            case AddConcept():
                return self._add_concept(command)
            case AddObject():
                return self._add_object(command)
            case RemovePrompt():
                return self._succeeded(self._remove_prompt(command.prompt_id))
            case RemoveObject():
                return self._remove_object(command)
            case Propagate():
                return self._propagate(command)
            case Reset():
                return self._reset()
            case Pause():
                return self._succeeded(self._pause(True))
            case Resume():
                return self._succeeded(self._pause(False))
            case Cancel():
                return self._succeeded(self._cancel())
        raise SessionError(f"this runtime does not know {type(command).__name__}")

    def _succeeded(self, is_success: bool) -> Applied:
        return Applied(self._next_index(), SuccessDetail(is_success=is_success).to_detail())

    # Prompts

    def _add_concept(self, command: AddConcept) -> Applied:
        tracking = self._state.tracking
        for text in command.texts:
            self._detection.check_text(text)
        if self._runs_by_itself and not command.boxes:
            ids = [tracking.add_concept(text) for text in command.texts]
            return Applied(self._next_index(), _concepts_detail(ids).to_detail())
        frame = self._frame(command.frame_index)
        height, width = frame.stamp.size
        prompt = command.at(width, height)
        exemplars = None
        if prompt.boxes:
            shown = shown_exemplar(prompt.boxes, prompt.box_labels)
            exemplars = self._detect(frame, [], shown).exemplar
        texts: list[str | None] = [*prompt.texts] or [None]
        ids = [tracking.add_concept(text, exemplars) for text in texts]
        if self._runs_by_itself:
            detail = _concepts_detail(ids)
            return Applied(frame.stamp.index, detail.to_detail(), used_frame=True)
        detected = self._detect(frame, [tracking.concept(one) for one in dict.fromkeys(ids)])
        tracking.start_found(frame.stamp, detected.features, detected.detections)
        record = tracking.at(frame.stamp).to_record()
        self._state.note_prompted(frame.stamp.index)
        detail = _concepts_detail(ids, record)
        return Applied(frame.stamp.index, detail.to_detail(), used_frame=True)

    def _add_object(self, command: AddObject) -> Applied:
        tracking = self._state.tracking
        frame = self._frame(command.frame_index)
        height, width = frame.stamp.size
        prompt = command.at(width, height)
        obj_id = tracking.add_object(
            self._state.as_tracker_counts(frame.stamp),
            self._detect(frame, []).features,
            obj_id=prompt.obj_id,
            points=prompt.points or None,
            point_labels=prompt.point_labels or None,
            box=prompt.box,
            mask=prompt.mask_array,
            clear_old_points=prompt.clear_old_points,
            label=prompt.label,
        )
        shown = tracking.at(frame.stamp)
        self._state.note_prompted(frame.stamp.index)
        detail = PromptDetail(
            obj_id=obj_id,
            record=None if self._runs_by_itself else shown.to_record(),
            warnings=doubts_of(prompt, shown, obj_id),
        )
        return Applied(frame.stamp.index, detail.to_detail(), used_frame=True)

    def _detect(
        self, frame: Arrival, concepts: list[Concept], shown: Exemplar | None = None
    ) -> DetectedFrame:
        return self._detection.submit(frame, concepts, shown).result()

    def _frame(self, index: int | None) -> Arrival:
        """The frame that a prompt is applied on."""
        if self._runs_by_itself:
            return self._next_frame()
        if index is None:
            index = self._state.first_prompted or 0
        return self._intake.read(index)

    def _remove_prompt(self, prompt_id: int) -> bool:
        tracking = self._state.tracking
        known = any(concept.prompt_id == prompt_id for concept in tracking.concepts)
        dropped = tracking.remove_concept(prompt_id)
        return known or bool(dropped)

    def _remove_object(self, command: RemoveObject) -> Applied:
        tracking = self._state.tracking
        removed = tracking.remove_object(command.obj_id, keep_away=command.keep_away)
        kept_away = removed and tracking.is_kept_away(command.obj_id)
        detail = RemovedDetail(is_success=removed, kept_away=kept_away)
        return Applied(self._next_index(), detail.to_detail())

    # Propagation

    def _propagate(self, command: Propagate) -> Applied:
        state = self._state
        if self._runs_by_itself:
            raise SessionError(
                "this session runs by itself, so there is nothing to propagate; follow it with "
                "stream_results"
            )
        if state.run is not None:
            raise SessionError(
                "the session is propagating already; finish or cancel that propagation first"
            )
        if state.first_prompted is None:
            raise SessionError("the session has no prompt; add one before propagating")
        start = command.start_frame_index
        start = state.first_prompted if start is None else start
        self._intake.read(start)  # raises if there is no such frame
        passes, reach = [], command.max_distance
        if command.direction != "backward":
            most = None if reach is None else reach + 1
            passes.append(Pass(state.epoch + 1, start, reverse=False, max_frames=most))
        if command.direction != "forward" and start > 0 and reach != 0:
            epoch = state.epoch + len(passes) + 1
            passes.append(Pass(epoch, start - 1, reverse=True, max_frames=reach))
        first = state.epoch + 1
        last = max(first, state.epoch + len(passes))
        state.run = Run("driven", passes)
        detail = PropagateDetail(cursor=self._cursor(), epochs=(first, last))
        return Applied(start, detail.to_detail())

    def _reset(self) -> Applied:
        applied = self._succeeded(True)
        self._state.reset()
        if self._state.run is not None and not self._runs_by_itself:
            self._state.run.cancelled = True
        return applied

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


def _concepts_detail(ids: list[int], record: dict[str, Any] | None = None) -> PromptDetail:
    return PromptDetail(prompt_ids=ids, prompt_id=ids[0], record=record)


CANCELLED = "cancelled before a frame came that this prompt could be applied on"
NO_FRAME = "no frame has come from the source for {seconds:g} s, and this prompt needs one"


def no_frame(seconds: float) -> SourceError:
    """The error of a prompt that no frame came for in time."""
    return SourceError(NO_FRAME.format(seconds=seconds))


def no_more_frames() -> PromptError:
    """The error of a prompt that came after the last frame."""
    return PromptError("the source has ended; there is no frame left to apply this prompt on")
