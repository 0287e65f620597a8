"""Overlay videos: H.264 in MP4, with the timing of the source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from maskstream.core.errors import OutputError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.base import cannot_write, part_path, remove
from maskstream.pipeline.sinks.overlay import draw_overlay
from maskstream.pipeline.sinks.spool import ResultSpool
from maskstream.pipeline.sources import Frame, FrameSource

_TICKS_PER_S = 90_000
DEFAULT_FPS = Fraction(25)
_BT709 = 1
_ENCODER_OPTIONS = {"crf": "20", "preset": "veryfast"}


class VideoWriter:
    """Encodes pictures of one size. The file gets its final name when it is finished."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction | None) -> None:
        """Create the file.

        Args:
            path: final path of the video.
            width: width of the pictures in pixels. An odd width is made even: the last column is
                repeated.
            height: height of the pictures; an odd one is made even too.
            fps: nominal frames per second, which also times pictures without time stamps.

        Raises:
            OutputError: the file cannot be created.
        """
        self._path = path
        self._fps = fps or DEFAULT_FPS
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        self._start_s: float | None = None
        self._last_tick = -1
        self._num_frames = 0
        self._reformatter = VideoReformatter()
        try:
            self._file = part_path(path).open("wb")
        except OSError as error:
            raise cannot_write(path, error) from error
        # FFmpeg itself would report an unwritable path only at the first packet.
        self._container: Any = av.open(self._file, "w", format="mp4")
        rate = self._fps.limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options=_ENCODER_OPTIONS)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, _TICKS_PER_S)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG

    def write(self, image: NDArray[np.uint8], pts_s: float | None) -> None:
        """Add a (H, W, 3) uint8 RGB picture.

        Args:
            image: the picture.
            pts_s: time stamp in seconds; None: by the nominal rate. The video starts at the first
                picture's. A time that does not advance is moved by the least possible step.

        Raises:
            OutputError: the picture cannot be written; the unfinished file is removed.
        """
        if self._container is None:
            raise OutputError(f"{self._path} is closed")
        if self._padding != ((0, 0), (0, 0), (0, 0)):
            image = np.pad(image, self._padding, mode="edge")
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts = self._tick(pts_s)
        frame.time_base = Fraction(1, _TICKS_PER_S)
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise cannot_write(self._path, error) from error
        self._num_frames += 1

    def finish(self) -> bool:
        """Complete the file and give it its final name; False if there was no picture.

        Raises:
            OutputError: the file cannot be completed; the unfinished file is removed.
        """
        if self._container is None:
            return False
        if self._num_frames == 0:
            self.discard()
            return False
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            self._file.close()
            part_path(self._path).replace(self._path)
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise cannot_write(self._path, error) from error
        return True

    def discard(self) -> None:
        """Remove the unfinished file."""
        if self._container is not None:
            with suppress(av.FFmpegError, OSError):
                self._container.close()
            self._container = None
        with suppress(OSError):
            self._file.close()
        remove(part_path(self._path))

    def _tick(self, pts_s: float | None) -> int:
        if pts_s is None:
            tick = round(self._num_frames / self._fps * _TICKS_PER_S)
        else:
            self._start_s = pts_s if self._start_s is None else self._start_s
            tick = round((pts_s - self._start_s) * _TICKS_PER_S)
        self._last_tick = max(tick, self._last_tick + 1)
        return self._last_tick


class OverlaySink:
    """Paints results as they come. They must come in ascending frame order.

    It reads the pictures from the source a second time: a result comes several frames after its
    picture was read for the segmenter, and pictures are not kept that long.
    """

    def __init__(self, path: Path, source: FrameSource, *, font_path: str | None = None) -> None:
        """Create the file.

        Raises:
            OutputError: the file cannot be created.
        """
        self._path = path
        self._source = source
        self._font_path = font_path
        self._frames: Iterator[Frame] | None = None
        self._last_index = -1
        self._finished: bool | None = None
        info = source.info
        self._writer = VideoWriter(path, info.width, info.height, info.fps)

    @property
    def paths(self) -> list[Path]:
        """The video; empty if no frame was written."""
        return [] if self._finished is False else [self._path]

    def write(self, result: FrameResult) -> None:
        """See ``Sink.write``."""
        if result.frame_index <= self._last_index:
            raise OutputError(
                f"{self._path}: frame {result.frame_index} comes after frame {self._last_index}; "
                "an overlay that is written at once needs ascending frames"
            )
        frame = self._frame(result.frame_index)
        self._last_index = result.frame_index
        self._writer.write(
            draw_overlay(frame.image, result, font_path=self._font_path), frame.pts_s
        )

    def close(self) -> None:
        """See ``Sink.close``."""
        self._frames = None
        if self._finished is None:
            self._finished = False
            self._finished = self._writer.finish()

    def discard(self) -> None:
        """See ``Sink.discard``."""
        self._finished = False
        self._writer.discard()

    def _frame(self, index: int) -> Frame:
        if self._frames is None or index != self._last_index + 1:
            self._frames = self._source.iterate(index)
        return next(self._frames)


def write_overlay(
    spool: ResultSpool, path: Path, source: FrameSource, *, font_path: str | None = None
) -> None:
    """Paint spooled results in frame order; they may have come in any order.

    Raises:
        OutputError: the video cannot be written.
        SourceError: the source can no longer be read.
    """
    sink = OverlaySink(path, source, font_path=font_path)
    try:
        for result in spool.results():
            sink.write(result)
    finally:
        sink.close()
