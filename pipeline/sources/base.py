"""What every source of frames promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import InputError

SourceKind = Literal["video", "frames", "image", "array"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        index: 0-based, counted by the decoder: the same for sequential and random access.
        pts_s: presentation time in seconds as the container gives it (it need not start at 0),
            None where the source carries no time.
        image: (H, W, 3) uint8 RGB, rotation applied. Treat it as read-only.
    """

    index: int
    pts_s: float | None
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says about itself before it is read.

    Attributes:
        width, height: of every frame, in pixels, after rotation.
        fps: nominal frames per second; None for pictures without a time.
        num_frames: what the container declares, or an estimate from its duration, and either may
            be wrong: only ``count_frames()`` is exact. None when nothing is declared.
        duration_s: declared duration in seconds, or None.
        kind: what is being read.
        name: file or folder name, for messages and result files.
    """

    width: int
    height: int
    fps: Fraction | None
    num_frames: int | None
    duration_s: float | None
    kind: SourceKind
    name: str


class FrameSource(Protocol):
    """Frames in order, or by index, in memory that does not grow with the source's length.

    A source belongs to one thread at a time. Several iterations may be open at once; each keeps
    its own position.
    """

    @property
    def info(self) -> SourceInfo:
        """What the source says about itself."""
        ...

    @property
    def start_frame(self) -> int:
        """Index of the first frame that plain iteration gives."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """From ``start_frame`` to the end."""
        ...

    def iterate(
        self, start: int | None = None, stop: int | None = None, *, reverse: bool = False
    ) -> Iterator[Frame]:
        """Frames ``start`` up to, not including, ``stop``, as ``range`` counts them.

        Args:
            start: first frame; None is ``start_frame``, or the last frame in reverse.
            stop: None runs to the end, or down to and including frame 0 in reverse.
            reverse: go down instead of up.

        Raises:
            InputError: ``start`` is not a frame of this source.
            SourceError: a frame cannot be decoded; all frames before it were given.
        """
        ...

    def read(self, index: int) -> Frame:
        """One frame by its index.

        Raises:
            InputError: there is no such frame.
            SourceError: it cannot be decoded.
        """
        ...

    def frame_name(self, index: int) -> str:
        """What to call a frame in result files: its own file name, or one made of its number."""
        ...

    def count_frames(self) -> int:
        """The exact number of frames. A video is decoded to its end once to know it."""
        ...

    def close(self) -> None:
        """Release files and decoders. Closing twice is fine."""
        ...

    def __enter__(self) -> Self:
        """The source itself."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        ...


def check_index(index: int, name: str, num_frames: int | None = None) -> None:
    """Refuse an index that is negative, or not below ``num_frames`` where that is known.

    Raises:
        InputError: with the range that would be right.
    """
    if index >= 0 and (num_frames is None or index < num_frames):
        return
    valid = "0 or more" if num_frames is None else f"0 to {num_frames - 1}"
    raise InputError(f"{name}: there is no frame {index}; frames are numbered {valid}")
