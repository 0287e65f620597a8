"""Where in its source a frame lies, and when it was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class FrameStamp:
    """A frame without its picture.

    Attributes:
        index: 0-based, as the decoder counts.
        pts_s: presentation time in seconds, comparable within an epoch; None where the source
            gives none.
        wall_s: when the frame was decoded or pushed, in seconds since 1970.
        epoch: of a live source, goes up at every reconnect and new pass; of a propagation, goes up
            with every direction.
        gap_s: seconds of the source that are missing before this frame.
        size: (height, width) in pixels.
    """

    index: int
    pts_s: float | None = None
    wall_s: float = 0.0
    epoch: int = 0
    gap_s: float = 0.0
    size: tuple[int, int] = (0, 0)

    def to_state(self) -> dict[str, Any]:
        """JSON values for a checkpoint; ``from_state`` undoes it."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore a stamp.

        Raises:
            TypeError, ValueError, KeyError: the values are not those of a stamp.
        """
        height, width = state["size"]
        return cls(**{**state, "size": (int(height), int(width))})
