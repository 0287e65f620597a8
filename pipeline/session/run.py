"""A run over the frames of a source: a propagation, or the run of a session by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(slots=True)
class Pass:
    """One direction of a run.

    Attributes:
        epoch: epoch of its results. Frames of a live source bring their own epoch.
        start: index of the first frame.
        reverse: the video is played backward.
        max_frames: largest number of frames; None: all.
    """

    epoch: int
    start: int
    reverse: bool
    max_frames: int | None = None


@dataclass(slots=True)
class Run:
    """A run and its progress. Checkpoints contain all of it.

    Attributes:
        kind: ``free``: the session runs by itself. ``driven``: a client asked for the run.
        passes: the passes, one for each direction, in order.
        pass_number: number of the current pass, 0-based.
        num_stepped: number of frames of this pass that were tracked.
        next_index: index of the next frame of this pass to track.
        cancelled: the run stops before the next frame.
        last_index: index of the frame that was tracked last.
    """

    kind: Literal["free", "driven"]
    passes: list[Pass]
    pass_number: int = 0
    num_stepped: int = 0
    next_index: int = 0
    cancelled: bool = False
    last_index: int = 0

    def __post_init__(self) -> None:
        if self.num_stepped == 0 and self.passes:
            self.next_index = self.passes[self.pass_number].start

    @property
    def current(self) -> Pass:
        return self.passes[self.pass_number]

    @property
    def is_last_pass(self) -> bool:
        return self.pass_number + 1 >= len(self.passes)

    def step_of(self, index: int) -> int:
        """The step of a frame: its index; in a backward pass, the number of frames before it."""
        current = self.current
        return current.start - index if current.reverse else index

    def note_stepped(self, index: int) -> None:
        """Count a frame that was tracked."""
        self.num_stepped += 1
        self.last_index = index
        self.next_index = index - 1 if self.current.reverse else index + 1

    def begin_next_pass(self) -> None:
        """Go to the start of the next pass."""
        self.pass_number += 1
        self.num_stepped = 0
        self.next_index = self.current.start

    def to_state(self) -> dict[str, Any]:
        """JSON values for a checkpoint; ``from_state`` undoes it."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Run:
        """Restore a run from a checkpoint."""
        return cls(**{**state, "passes": [Pass(**one) for one in state["passes"]]})
