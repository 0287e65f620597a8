"""The state of a session that must outlive the process that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from maskstream.core.errors import CheckpointError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.run import Run
from maskstream.pipeline.session.state_codec import state_from_bytes, state_to_bytes
from maskstream.pipeline.video.frame_numbers import FrameNumbers
from maskstream.pipeline.video.tracking import SessionTracking

STATE_VERSION = 3


@dataclass(slots=True)
class CheckpointedState:
    """What a session tracks, and how far it has come.

    Attributes:
        tracking: concepts, masklets and held-back results.
        run: the current run, or None.
        epoch: epoch of the newest run.
        idle_step: between two runs, the step that follows the end of the last one.
        is_paused: the session takes no frames.
        first_prompted: index of the earliest frame with a prompt, or None.
        numbers: for a session that runs by itself: numbers frames without gaps for the tracker and
            translates its results back. The tracker remembers the newest frames by number, so
            frames that sampling leaves out must not get one.
        numbered: index of the frame that was numbered last, and its number.
    """

    tracking: SessionTracking
    run: Run | None = None
    epoch: int = 0
    idle_step: int = 0
    is_paused: bool = False
    first_prompted: int | None = None
    numbers: FrameNumbers | None = None
    numbered: tuple[int, int] = (-1, -1)

    def as_tracker_counts(self, stamp: FrameStamp) -> FrameStamp:
        """A stamp with the tracker's frame number, for the next frame or the one numbered last."""
        if self.numbers is None:
            return stamp
        if self.numbered[0] != stamp.index:
            self.numbered = (stamp.index, self.numbers.number(stamp.index))
        return replace(stamp, index=self.numbered[1])

    def as_source_counts(self, result: FrameResult) -> FrameResult:
        """A result of the tracker with the source's frame indices."""
        return result if self.numbers is None else self.numbers.translate(result)

    def reset(self) -> None:
        """Forget all prompts and objects."""
        self.tracking.reset()
        self.first_prompted = None
        if self.numbers is not None:
            self.numbers, self.numbered = FrameNumbers(), (-1, -1)

    def note_prompted(self, frame_index: int) -> None:
        """Remember that a prompt was applied on a frame."""
        earlier = self.first_prompted
        self.first_prompted = frame_index if earlier is None else min(earlier, frame_index)

    def to_bytes(self, more: Mapping[str, Any]) -> bytes:
        """The state and further JSON values ``more`` as bytes; ``load_bytes`` undoes it."""
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
        """Restore the state from ``to_bytes``; returns its ``more``.

        Raises:
            CheckpointError: the bytes cannot be read, or belong to another model or version.
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
