"""A run over frames: one that its client has asked for, or that of a session running by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(slots=True)
class Leg:
    """One direction of a run.

    Attributes:
        epoch: of its results; a live source's epochs come with its frames.
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
        legs: its directions, one after the other.
        max_frames: in each leg; None: all.
        leg: number of the leg it is in.
        num_stepped: frames of this leg that were stepped over.
        next_index: the first frame of this leg that was not.
        cancelled: it is to stop at the next frame.
        last_index: the frame that was stepped over last.
    """

    kind: Literal["free", "driven"]
    legs: list[Leg]
    max_frames: int | None
    leg: int = 0
    num_stepped: int = 0
    next_index: int = 0
    cancelled: bool = False
    last_index: int = 0

    def __post_init__(self) -> None:
        if self.num_stepped == 0 and self.legs:
            self.next_index = self.legs[self.leg].start

    @property
    def current(self) -> Leg:
        return self.legs[self.leg]

    @property
    def is_last_leg(self) -> bool:
        return self.leg + 1 >= len(self.legs)

    def step_of(self, index: int) -> int:
        """The step of a frame: its index, or, backward, how many came before it."""
        leg = self.current
        return leg.start - index if leg.reverse else index

    def note_stepped(self, index: int) -> None:
        """A frame was stepped over."""
        self.num_stepped += 1
        self.last_index = index
        self.next_index = index - 1 if self.current.reverse else index + 1

    def begin_next_leg(self) -> None:
        """Turn round."""
        self.leg += 1
        self.num_stepped = 0
        self.next_index = self.current.start

    def to_state(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Run:
        """Undo ``to_state``."""
        return cls(**{**state, "legs": [Leg(**leg) for leg in state["legs"]]})
