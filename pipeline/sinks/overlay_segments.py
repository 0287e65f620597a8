"""Overlay videos of endless streams: one file after another, each complete when it appears."""

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

# Tolerance for rounded time stamps at the end of a segment.
_ROUNDING_S = 1e-3
_NAME = re.compile(r"overlay-(\d{5,})\.mp4")


class OverlaySegments:
    """Paints results and writes them to ``overlay-00000.mp4`` and so on.

    A segment ends after ``segment_s`` of the stream's time. It ends earlier if the picture's size
    or the epoch changes, or time goes back: one file cannot contain these. A frame without a time
    stamp, often the first of a stream, is placed after the previous one by its arrival time or, if
    that is unknown, by the nominal rate. Numbers continue after those of the files in the folder.

    Bounded: one open file, and ``keep`` finished ones on disk.
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
        """Prepare the folder; the first frame starts the first file.

        Args:
            folder: where the files go; created if it does not exist.
            segment_s: length of a segment, in seconds.
            keep: number of finished segments of this run to keep, the newest; None keeps all.
            fps: nominal frames per second. Frames with time stamps keep their times.
            font_path: a TrueType font to write labels with; None: the fonts of the package.

        Raises:
            InputError: ``segment_s`` or ``keep`` is not positive.
            OutputError: the folder cannot be created or read.
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
        self._origin_s: float | None = None  # stream time at the start of the segment
        self._last_s = 0.0  # time of the last frame within the segment
        self._last_wall_s: float | None = None  # arrival time of that frame
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
            result: objects with masks of the picture's size.
            image: (H, W, 3) uint8 RGB.
            time_s: time stamp of the frame in the stream, in seconds; None if it has none.
            epoch: the source's epoch.
            wall_s: arrival time of the frame, in seconds; None if unknown.

        Raises:
            OutputError: the frame cannot be written; the earlier segments are complete.
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
            # The first frame with a time stamp fixes the stream time of those before it.
            self._origin_s = time_s - expected_s
        return time_s - self._origin_s

    def close(self) -> None:
        """Finish the last segment. Closing twice is fine.

        Raises:
            OutputError: the segment cannot be finished; the earlier ones are complete.
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
