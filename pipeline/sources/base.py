"""The interface of all sources of frames."""

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
        index: 0-based number of the frame, the same for sequential and random access.
        pts_s: presentation time in seconds from the container; it need not start at 0. None if the
            source has no time stamps.
        image: (H, W, 3) uint8 RGB, rotation applied. Treat it as read-only.
    """

    index: int
    pts_s: float | None
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known about a source before it is read.

    Attributes:
        width, height: size of every frame in pixels, after rotation.
        fps: nominal frames per second; None for pictures without time stamps.
        num_frames: number of frames that the container declares, or an estimate from its duration.
            Both may be wrong; only ``count_frames()`` is exact. None if nothing is declared.
        duration_s: declared duration in seconds, or None.
        kind: kind of the source.
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
    """Gives frames in order or by index.

    Promises: memory does not grow with the source's length. Several iterations may be open at once,
    each with its own position. A source is used by one thread at a time.
    """

    @property
    def info(self) -> SourceInfo:
        """What is known about the source."""
        ...

    @property
    def start_frame(self) -> int:
        """Index of the first frame that plain iteration gives."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Iterate from ``start_frame`` to the end."""
        ...

    def iterate(
        self, start: int | None = None, stop: int | None = None, *, reverse: bool = False
    ) -> Iterator[Frame]:
        """Iterate from frame ``start`` up to, not including, ``stop``, as ``range`` counts.

        Args:
            start: index of the first frame; None: ``start_frame``, or the last frame in reverse.
            stop: None: to the end, or in reverse down to and including frame 0.
            reverse: indices go down instead of up.

        Raises:
            InputError: ``start`` is not a frame of this source.
            SourceError: a frame cannot be decoded. All frames before it came first.
        """
        ...

    def read(self, index: int) -> Frame:
        """Read one frame by its index.

        Raises:
            InputError: there is no such frame.
            SourceError: the frame cannot be decoded.
        """
        ...

    def frame_name(self, index: int) -> str:
        """Name of a frame in result files: its file name, or a name made from its number."""
        ...

    def count_frames(self) -> int:
        """The exact number of frames. To know it, a video is decoded to its end once."""
        ...

    def close(self) -> None:
        """Release files and decoders. Closing twice is fine."""
        ...

    def __enter__(self) -> Self:
        """Returns the source itself."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the source."""
        ...


def check_index(index: int, name: str, num_frames: int | None = None) -> None:
    """Refuse an index that is negative, or not below ``num_frames`` if that is known.

    Raises:
        InputError: there is no such frame; the message gives the valid range.
    """
    if index >= 0 and (num_frames is None or index < num_frames):
        return
    valid = "0 or more" if num_frames is None else f"0 to {num_frames - 1}"
    raise InputError(f"{name}: there is no frame {index}; frames are numbered {valid}")
