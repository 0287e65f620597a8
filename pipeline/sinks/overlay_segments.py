"""Overlay videos of streams without an end: one file after another, each whole when it is there."""

from __future__ import annotations

import re
from collections import deque
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import InputError, OutputError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.base import cannot_write, remove
from maskstream.pipeline.sinks.overlay import draw_overlay
from maskstream.pipeline.sinks.overlay_video import DEFAULT_FPS, VideoWriter

# Time stamps are rounded; a frame that is due now begins the next segment.
_ROUNDING_S = 1e-3
_NAME = re.compile(r"overlay-(\d{5,})\.mp4")


class OverlaySegments:
    """Paints results and writes them into ``overlay-00000.mp4`` and so on.

    A segment ends after ``segment_s`` of the stream's time, and where the picture's size or the
    epoch changes or time goes back, since one file can hold none of these. A frame without a time,
    as the first of a stream often is, follows the one before as it came, or at the nominal rate.
    Numbers go on after those that the folder holds. Bounded: one open file, and ``keep`` finished
    ones on disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_s: float = 60.0,
        keep: int | None = None,
        fps: Fraction | None = None,
        font_path: str | None = None,
    ) -> None:
        """Begin; nothing is written before the first frame.

        Args:
            folder: made if it does not exist.
            segment_s: length of a segment.
            keep: so many of the newest segments of this run; None keeps all.
            fps: nominal rate; times are those of the frames.
            font_path: a TrueType font for all labels; None: one that has their letters.

        Raises:
            InputError: a length or number that makes no sense.
            OutputError: the folder cannot be made or read.
        """
        if not segment_s > 0 or (keep is not None and keep < 1):
            raise InputError(
                f"segment_s is {segment_s} and keep is {keep}; expected a positive length, and 1 "
                "segment or more"
            )
        self._folder = folder
        self._segment_s = segment_s
        self._keep = keep
        self._fps = fps or DEFAULT_FPS
        self._font_path = font_path
        self._finished: deque[Path] = deque()
        self._writer: VideoWriter | None = None
        self._path = folder
        self._began: tuple[int, tuple[int, ...]] = (0, ())
        self._origin_s: float | None = None  # time of the stream at which the segment begins
        self._last_s = 0.0  # of the last frame, in the segment
        self._last_wall_s: float | None = None  # when that frame came
        self._is_closed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = [_NAME.fullmatch(path.name.removesuffix(".part")) for path in folder.iterdir()]
        except OSError as error:
            raise cannot_write(folder, error) from error
        self._number = max((int(match[1]) + 1 for match in found if match), default=0)

    @property
    def paths(self) -> list[Path]:
        """The finished segments that are kept."""
        return list(self._finished)

    def write(
        self,
        result: FrameResult,
        image: NDArray[np.uint8],
        time_s: float | None,
        epoch: int = 0,
        wall_s: float | None = None,
    ) -> None:
        """Add a frame.

        Args:
            result: with masks of the picture's size.
            image: (H, W, 3) uint8 RGB.
            time_s: of the stream; None where it has none.
            epoch: of the source.
            wall_s: when it came, where that is known.

        Raises:
            OutputError: it cannot be written; the segments before are whole.
        """
        if self._is_closed:
            raise OutputError(f"the overlay in {self._folder} is closed")
        where = (epoch, image.shape)
        at_s = self._time_in_segment(time_s, wall_s)
        is_other = at_s > self._segment_s - _ROUNDING_S or at_s < self._last_s
        if self._writer is None or where != self._began or is_other:
            self._finish()
            self._path = self._folder / f"overlay-{self._number:05}.mp4"
            self._number += 1
            self._writer = VideoWriter(self._path, image.shape[1], image.shape[0], self._fps)
            self._began, self._origin_s, at_s = where, time_s, 0.0
        self._last_s = at_s
        self._last_wall_s = wall_s
        try:
            self._writer.write(draw_overlay(image, result, font_path=self._font_path), at_s)
        except OutputError:
            self._writer = None
            self._is_closed = True
            raise

    def _time_in_segment(self, time_s: float | None, wall_s: float | None) -> float:
        if time_s is None or self._origin_s is None:
            since_s = float(1 / self._fps)
            if wall_s is not None and self._last_wall_s is not None:
                since_s = max(0.0, wall_s - self._last_wall_s)
            expected_s = self._last_s + since_s
            if time_s is None:
                return expected_s
            # The first of the segment that has a time says when the others were.
            self._origin_s = time_s - expected_s
        return time_s - self._origin_s

    def close(self) -> None:
        """Finish the last segment. Twice is fine.

        Raises:
            OutputError: it cannot be finished; those before are whole.
        """
        self._is_closed = True
        self._finish()

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None or not writer.finish():
            return
        self._finished.append(self._path)
        while self._keep is not None and len(self._finished) > self._keep:
            remove(self._finished.popleft())
