"""Frames of a connection that FFmpeg decodes."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from maskstream.pipeline.sources.orientation import orientation_of


class StreamFrame:
    """A frame of PyAV, not yet converted."""

    def __init__(
        self, frame: VideoFrame, pts_s: float | None, reformatter: VideoReformatter
    ) -> None:
        self._frame = frame
        self._reformatter = reformatter
        self._orientation = orientation_of(frame)
        self.pts_s = pts_s
        self.size = self._orientation.shown_size(frame.width, frame.height)
        self.is_corrupt = bool(frame.is_corrupt)

    def to_rgb(self) -> NDArray[np.uint8] | None:
        """See ``DecodedFrame.to_rgb``."""
        try:
            rgb = self._reformatter.reformat(self._frame, format="rgb24", threads=1)
        except (av.FFmpegError, ValueError):
            return None
        return self._orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))


def time_of(frame: VideoFrame, time_base: Fraction | None) -> float | None:
    """A frame's presentation time in seconds, by its own time base or else the stream's."""
    time_base = frame.time_base or time_base
    return None if frame.pts is None or time_base is None else float(frame.pts * time_base)
