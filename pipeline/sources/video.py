"""Video files, decoded by PyAV on request."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from maskstream.core.closing import Closing
from maskstream.core.errors import InputError, SourceError
from maskstream.pipeline.sources.anchors import Anchor, KeyframeAnchors
from maskstream.pipeline.sources.base import Frame, SourceInfo, check_index
from maskstream.pipeline.sources.decoder import FrameDecoder
from maskstream.pipeline.sources.orientation import Orientation, orientation_of
from maskstream.pipeline.sources.roots import ANYWHERE, AllowedRoots
from maskstream.pipeline.sources.truncation import num_missing_bytes

_REVERSE_BUFFER_BYTES = 256 * 2**20
_MAX_REVERSE_FRAMES = 512
_NEAR = 250


class VideoSource(Closing):
    """A video file, read forward, backward and by index, with a bounded number of frames in memory.

    - Colour: the file's matrix and range are used. Files without these tags are read as BT.601,
      limited range, as FFmpeg does. High dynamic range is not tone-mapped.
    - Size: that of the first frame, rotated as the container asks. Later frames of another size
      are scaled to it. Pixels are taken as square.
    - By index: the first read of a far frame decodes all frames before it, to count them. It
      remembers key frames, so that later reads start from the nearest one.
    - Backward: one key-frame interval is decoded at a time. Of an interval that is larger than
      ``reverse_buffer_bytes`` (unconverted), the last frames are kept and the others are decoded
      again.
    """

    def __init__(
        self,
        path: Path,
        *,
        start_frame: int = 0,
        reverse_buffer_bytes: int = _REVERSE_BUFFER_BYTES,
        roots: AllowedRoots = ANYWHERE,
    ) -> None:
        """Open the file and decode its first frame.

        Raises:
            SourceError: the file is not a video, has no video stream, or no frame of it can be
                decoded.
            InputError: ``start_frame`` is negative, or the file, or one that it names, lies in none
                of the folders ``roots``.
        """
        check_index(start_frame, path.name)
        self._path = path
        self._roots = roots
        self.start_frame = start_frame
        self._reverse_buffer_bytes = reverse_buffer_bytes
        self._num_missing_bytes = num_missing_bytes(path)
        self._anchors = KeyframeAnchors()
        self._num_frames: int | None = None
        self._reformatter = VideoReformatter()
        self._small = VideoReformatter()
        self._reader: FrameDecoder | None = self._new_decoder()
        first = self._reader.next_frame()
        if first is None:
            self._reader.close()
            reason = self._reader.fault or "the stream is empty"
            raise SourceError(f"{self._shown}: no frame can be decoded: {reason}")
        self._coded_size = (first.width, first.height)
        self._frame_bytes = sum(plane.buffer_size for plane in first.planes)
        self._info = self._describe(orientation_of(first), self._reader)
        self._first_pts_s = self._seconds(first)

    @property
    def info(self) -> SourceInfo:
        """What the container declares, and the size of the first frame."""
        return self._info

    @property
    def first_pts_s(self) -> float | None:
        """Time of the first frame in seconds; None if it has none."""
        return self._first_pts_s

    def __iter__(self) -> Iterator[Frame]:
        """Iterate from ``start_frame`` to the end."""
        return self.iterate()

    def iterate(
        self, start: int | None = None, stop: int | None = None, *, reverse: bool = False
    ) -> Iterator[Frame]:
        """See ``FrameSource.iterate``."""
        if reverse:
            start = self.count_frames() - 1 if start is None else start
            check_index(start, self._path.name, self._num_frames)
            return self._backward(start, -1 if stop is None else max(stop, -1))
        start = self.start_frame if start is None else start
        check_index(start, self._path.name, self._num_frames)
        return self._forward(start, stop)

    def read(self, index: int) -> Frame:
        """See ``FrameSource.read``."""
        check_index(index, self._path.name, self._num_frames)
        if self._reader is None:
            self._reader = self._new_decoder()
        frame = self._reader.frame_at(index)
        if frame is None:
            raise self._no_frame(self._reader, index)
        return self.convert(index, frame)

    def frame_name(self, index: int) -> str:
        """The video's name with the frame's number."""
        return f"{self._path.stem}/{index:06d}.jpg"

    def count_frames(self) -> int:
        """See ``FrameSource.count_frames``."""
        if self._num_frames is None:
            decoder = self._new_decoder()
            try:
                while decoder.next_frame() is not None:
                    pass
                self._check_end(decoder)
            finally:
                decoder.close()
        if self._num_frames is None:
            raise SourceError(f"{self._path}: its frames could not be counted")
        return self._num_frames

    def walk(self, start: int = 0) -> Iterator[DecodedFrame]:
        """Iterate from frame ``start`` to the end, without making pictures.

        Raises:
            InputError, SourceError: as ``iterate``.
        """
        check_index(start, self._path.name, self._num_frames)
        for index, frame in self._decoded(start, None):
            yield DecodedFrame(index, self._seconds(frame), frame, self)

    def anchor_before(self, index: int) -> Anchor | None:
        """The last key frame up to ``index`` from which decoding can start, of those seen so far.

        None: from the first frame only.
        """
        return self._anchors.floor(index)

    def add_anchor(self, anchor: Anchor) -> None:
        """Make a key frame known that another reader of the same file has found."""
        self._anchors.add(anchor)

    def know_frame(self, index: int, pts_s: float, lead_s: float = 0.0) -> None:
        """Let decoding start near a frame, whose number and time are known from elsewhere.

        Otherwise all frames before it are decoded once, to count them. Where the file cannot be
        decoded from there, or has no frame of that time, nothing changes.

        Args:
            index: of the frame.
            pts_s: its time.
            lead_s: so many seconds before it are to be decoded, too.
        """
        anchor = self._anchors.floor(index)
        is_near = index < _NEAR or (anchor is not None and index - anchor.index < _NEAR)
        if self._time_base is None or (is_near and lead_s == 0):
            return
        decoder = self._new_decoder()
        try:
            pts = round(Fraction(pts_s) / self._time_base)
            anchor = decoder.anchor_of(index, pts, lead_s)
        finally:
            decoder.close()
        if anchor is not None:
            self._anchors.add(anchor)

    def close(self) -> None:
        """Release the file. Open iterations close their own decoders."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _forward(self, start: int, stop: int | None) -> Iterator[Frame]:
        for index, frame in self._decoded(start, stop):
            yield self.convert(index, frame)

    def _decoded(self, start: int, stop: int | None) -> Iterator[tuple[int, VideoFrame]]:
        if stop is not None and stop <= start:
            return
        decoder = self._new_decoder()
        try:
            frame = decoder.frame_at(start)
            if frame is None:
                raise self._no_frame(decoder, start)
            index = start
            while frame is not None:
                yield index, frame
                index += 1
                if stop is not None and index >= stop:
                    return
                frame = decoder.next_frame()
            self._check_end(decoder)
        finally:
            decoder.close()

    def _backward(self, start: int, stop: int) -> Iterator[Frame]:
        max_held = min(_MAX_REVERSE_FRAMES, max(8, self._reverse_buffer_bytes // self._frame_bytes))
        decoder = self._new_decoder()
        try:
            high = start
            while high > stop:
                low = self._chunk_start(high, max(stop + 1, high - max_held + 1))
                held: deque[VideoFrame] = deque(maxlen=max_held)
                for index in range(low, high + 1):
                    frame = decoder.frame_at(index)
                    if frame is None:
                        raise self._no_frame(decoder, high)
                    held.append(frame)
                while held and high > stop:
                    yield self.convert(high, held.pop())
                    high -= 1
        finally:
            decoder.close()

    def _chunk_start(self, high: int, wanted: int) -> int:
        """Index to start decoding at, for a backward chunk that ends at ``high``."""
        inside = self._anchors.ceiling(wanted)
        if inside is not None and inside.index <= high:
            return inside.index
        return wanted

    def _new_decoder(self) -> FrameDecoder:
        cut = self._num_missing_bytes > 0
        return FrameDecoder(self._path, self._anchors, cut=cut, roots=self._roots)

    def convert(self, index: int, frame: VideoFrame) -> Frame:
        """Make the picture of a frame of this file that was decoded."""
        width, height = self._coded_size
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", threads=1
        )
        image = self._orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))
        return Frame(index, self._seconds(frame), image)

    def shrink(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB of a frame that was decoded, as coded: not rotated."""
        small = self._small.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        return small.to_ndarray().astype(np.uint8, copy=False)

    def _seconds(self, frame: VideoFrame) -> float | None:
        # Frames that are drained at a fault have no time base of their own.
        pts, time_base = frame.pts, self._time_base
        return None if pts is None or time_base is None else float(pts * time_base)

    def _describe(self, orientation: Orientation, decoder: FrameDecoder) -> SourceInfo:
        self._orientation = orientation
        width, height = orientation.shown_size(*self._coded_size)
        stream = decoder.stream
        self._time_base = stream.time_base
        fps = stream.average_rate or stream.guessed_rate
        duration_s = decoder.declared_duration_s
        num_frames: int | None = stream.frames or None
        if num_frames is None and fps and duration_s:
            num_frames = max(1, round(duration_s * fps))
        return SourceInfo(
            width=width,
            height=height,
            fps=Fraction(fps) if fps else None,
            num_frames=num_frames,
            duration_s=duration_s,
            kind="video",
            name=self._path.name,
        )

    def _check_end(self, decoder: FrameDecoder) -> None:
        """Remember the exact number of frames; raises if decoding stopped early."""
        if decoder.fault is None:
            self._num_frames = decoder.next_index
            return
        raise self._broken(decoder)

    def _no_frame(self, decoder: FrameDecoder, index: int) -> SourceError | InputError:
        if decoder.fault is not None:
            return self._broken(decoder)
        self._num_frames = decoder.next_index
        return InputError(
            f"{self._path.name}: there is no frame {index}; frames are numbered 0 to "
            f"{self._num_frames - 1}"
        )

    def _broken(self, decoder: FrameDecoder) -> SourceError:
        last = decoder.next_index - 1
        return SourceError(f"{self._shown}: decoding stopped after frame {last}: {decoder.fault}")

    @property
    def _shown(self) -> str:
        """The path, and whether the file is truncated."""
        if self._num_missing_bytes == 0:
            return str(self._path)
        return f"{self._path} (truncated, at least {self._num_missing_bytes:,} bytes are missing)"


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame that is decoded, but not yet a picture: who needs few frames of many saves that.

    Attributes:
        index: 0-based number of the frame.
        pts_s: its time, as in ``Frame``.
    """

    index: int
    pts_s: float | None
    _coded: VideoFrame
    _source: VideoSource

    @property
    def is_keyframe(self) -> bool:
        """Whether decoding can start here."""
        return bool(self._coded.key_frame)

    def to_frame(self) -> Frame:
        """Make the picture."""
        return self._source.convert(self.index, self._coded)

    def to_thumbnail(self, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB, as coded: not rotated."""
        return self._source.shrink(self._coded, width, height)
