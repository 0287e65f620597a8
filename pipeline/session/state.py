"""Everything of a served session that must outlive the worker that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from maskstream.core.errors import CheckpointError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.run import Run
from maskstream.pipeline.session.state_codec import state_from_bytes, state_to_bytes
from maskstream.pipeline.video.frame_numbers import FrameNumbers
from maskstream.pipeline.video.tracking import FramePlace, SessionTracking

STATE_VERSION = 1


@dataclass(slots=True)
class SessionState:
    """What is tracked, and where the session is.

    Attributes:
        tracking: concepts, masklets, results held back.
        run: over which frames it is going now, or None.
        epoch: of the newest run.
        idle_step: between runs, the step that follows the newest run's end.
        is_paused: takes no frames.
        first_prompted: earliest frame that was prompted, or None.
        numbers: of a session that runs by itself: its frames are numbered without gaps for the
            tracker, whose memory reaches back so many numbers.
        numbered: the frame that was numbered last, and its number.
    """

    tracking: SessionTracking
    run: Run | None = None
    epoch: int = 0
    idle_step: int = 0
    is_paused: bool = False
    first_prompted: int | None = None
    numbers: FrameNumbers | None = None
    numbered: tuple[int, int] = (-1, -1)

    def tracker_place(self, place: FramePlace) -> FramePlace:
        """A frame, the next one or one just taken, as the tracker counts."""
        if self.numbers is None:
            return place
        if self.numbered[0] != place.index:
            self.numbered = (place.index, self.numbers.number(place.index))
        return replace(place, index=self.numbered[1])

    def told(self, result: FrameResult) -> FrameResult:
        """A result as the decoder counts."""
        return result if self.numbers is None else self.numbers.translate(result)

    def reset(self) -> None:
        """Forget all prompts and objects."""
        self.tracking.reset()
        self.first_prompted = None
        if self.numbers is not None:
            self.numbers, self.numbered = FrameNumbers(), (-1, -1)

    def note_prompted(self, frame_index: int) -> None:
        """A prompt was applied on a frame."""
        earlier = self.first_prompted
        self.first_prompted = frame_index if earlier is None else min(earlier, frame_index)

    def to_bytes(self, more: Mapping[str, Any]) -> bytes:
        """The state, with more values that belong to it."""
        return state_to_bytes(
            {
                "version": STATE_VERSION,
                "tracking": self.tracking.state_dict(),
                "run": None if self.run is None else self.run.to_state(),
                "epoch": self.epoch,
                "idle_step": self.idle_step,
                "is_paused": self.is_paused,
                "first_prompted": self.first_prompted,
                "numbers": None if self.numbers is None else self.numbers.to_state(),
                "numbered": list(self.numbered),
                "more": dict(more),
            }
        )

    def load_bytes(self, blob: bytes) -> dict[str, Any]:
        """Undo ``to_bytes``; gives the further values.

        Raises:
            CheckpointError: it cannot be read, or is of another model or version.
        """
        state = state_from_bytes(blob)
        if state.get("version") != STATE_VERSION:
            raise CheckpointError(
                f"the checkpoint is of version {state.get('version')!r}; only {STATE_VERSION} can "
                "be read"
            )
        try:
            self.tracking.load_state_dict(state["tracking"])
            self.run = None if state["run"] is None else Run.from_state(state["run"])
            self.epoch, self.idle_step = int(state["epoch"]), int(state["idle_step"])
            self.is_paused = bool(state["is_paused"])
            self.first_prompted = state["first_prompted"]
            if state["numbers"] is not None:
                self.numbers = FrameNumbers.from_state(state["numbers"])
            index, number = state["numbered"]
            self.numbered = (int(index), int(number))
            more: dict[str, Any] = state["more"]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint is malformed: {error!r}") from error
        return more
