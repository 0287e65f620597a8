"""A run over frames: one that a client asked for, or that of a session that runs by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(slots=True)
class Pass:
    """One direction of a run.

    Attributes:
        epoch: of its results. The epochs of a live source come with its frames instead.
        start: first frame.
        reverse: the video is played backward.
    """

    epoch: int
    start: int
    reverse: bool


@dataclass(slots=True)
class Run:
    """Where a run is. All of it survives in checkpoints.

    Attributes:
        kind: ``free`` runs by itself, ``driven`` was asked for.
        passes: its directions, one after the other.
        max_frames: in each pass; None: all.
        pass_number: of the pass that it is in.
        num_stepped: frames of this pass that were tracked.
        next_index: the first frame of this pass that was not.
        cancelled: the run stops at the next frame.
        last_index: the frame that was tracked last.
    """

    kind: Literal["free", "driven"]
    passes: list[Pass]
    max_frames: int | None
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
        """The step of a frame: its index, or, backward, how many frames came before it."""
        current = self.current
        return current.start - index if current.reverse else index

    def note_stepped(self, index: int) -> None:
        """A frame was tracked."""
        self.num_stepped += 1
        self.last_index = index
        self.next_index = index - 1 if self.current.reverse else index + 1

    def begin_next_pass(self) -> None:
        """Turn round."""
        self.pass_number += 1
        self.num_stepped = 0
        self.next_index = self.current.start

    def to_state(self) -> dict[str, Any]:
        """JSON values for a checkpoint; ``from_state`` undoes it."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Run:
        """Go on from a checkpoint."""
        return cls(**{**state, "passes": [Pass(**one) for one in state["passes"]]})
