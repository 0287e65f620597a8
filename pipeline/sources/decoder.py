"""Decodes a video file and numbers its frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from maskstream.core.errors import InputError, SourceError
from maskstream.pipeline.sources.anchors import Anchor, KeyframeAnchors
from maskstream.pipeline.sources.media import MediaFile
from maskstream.pipeline.sources.roots import ANYWHERE, AllowedRoots

# Some demuxers seek by decoding time and land after the wanted key frame; then aim earlier.
_SEEK_MARGINS_S = (0, 2, 10)


class FrameDecoder:
    """Decodes one video stream in display order and numbers its frames.

    Promises: random access gives a frame the same number as decoding from the start. That number is
    how many frames the decoder gave before it. After a seek, counting continues from a key frame
    whose number is known, recognised by its time stamp.
    """

    def __init__(
        self,
        path: Path,
        anchors: KeyframeAnchors,
        *,
        cut: bool,
        roots: AllowedRoots = ANYWHERE,
    ) -> None:
        """Open the file.

        Args:
            path: the video file.
            anchors: shared by all decoders of one file.
            cut: the file ends too early; its last, incomplete packet is left out.
            roots: it, and what it names, must lie in one of these folders.

        Raises:
            InputError: it does not.
            SourceError: the file is not a video, or has no video stream.
        """
        self._path = path
        self._anchors = anchors
        self._cut = cut
        self._roots = roots
        self._fault: str | None = None
        self._frames: Generator[VideoFrame, None, None]
        self._open()

    @property
    def stream(self) -> VideoStream:
        """The decoded stream."""
        return self._stream

    @property
    def declared_duration_s(self) -> float | None:
        """Duration of the stream, else of the container, in seconds; None if neither has one."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration is not None:
            return self._container.duration / av.time_base
        return None

    @property
    def fault(self) -> str | None:
        """Why decoding ended before the end of the file, or None."""
        return self._fault

    def next_frame(self) -> VideoFrame | None:
        """Returns the next frame, not converted; None at the end or at a fault."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        if not self._record(frame):
            index = self.next_index
            self._reopen()
            return self.frame_at(index)
        self.next_index += 1
        return frame

    def frame_at(self, index: int) -> VideoFrame | None:
        """Returns frame ``index``; None if the file ends or breaks before it."""
        self._go_near(index)
        frame: VideoFrame | None = None
        while self.next_index <= index:
            frame = self.next_frame()
            if frame is None:
                return None
        return frame

    def anchor_of(self, index: int, pts: int, lead_s: float = 0.0) -> Anchor | None:
        """The key frame before a frame whose number and time stamp are known.

        Its number is what is left when the frames between are counted. With ``lead_s`` it lies so
        many seconds before the frame at least. None: the file cannot be decoded from there, or has
        no such frame. Afterwards the decoder is of no more use.
        """
        if self._stream.time_base is None:
            return None
        for margin_s in _SEEK_MARGINS_S:
            target = pts - round((margin_s + lead_s) / self._stream.time_base)
            try:
                self._container.seek(target, stream=self._stream, backward=True)
            except av.FFmpegError:
                return None
            self._frames.close()
            self._frames = frames = self._decode()
            key_pts: int | None = None
            key_index = index
            for frame in frames:
                if frame.pts is None or frame.pts > pts:
                    break
                if key_pts is None and frame.key_frame:
                    key_pts = frame.pts
                if key_pts is not None and frame.pts == pts:
                    return Anchor(key_index, key_pts) if key_index >= 0 else None
                if key_pts is not None:
                    key_index -= 1
        return None

    def close(self) -> None:
        """Release the file and the decoder's threads."""
        self._frames.close()
        self._media.close()

    def _open(self) -> None:
        self._media = _open_media(self._path, self._roots)
        self._container = self._media.container
        try:
            self._stream = _video_stream(self._container, self._path)
        except SourceError:
            self._media.close()
            raise
        self._stream.thread_type = "AUTO"
        self._frames = self._decode()
        self.next_index = 0
        self._anchor_pts: int | None = None
        self._max_pts: int | None = None

    def _decode(self) -> Generator[VideoFrame, None, None]:
        self._fault = None
        num_decoded = 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt and self._cut:
                    self._fault = "the last packet is incomplete"
                    break
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    if num_decoded == 0:  # the recording starts between two key frames
                        continue
                    # The frames that the decoder's threads still hold come after the gap. They are
                    # left out, because their numbers would be wrong.
                    self._fault = _reason(error)
                    return
                for frame in frames:
                    num_decoded += 1
                    yield frame
        except av.FFmpegError as error:
            self._fault = _reason(error)
        self._fault = self._fault or self._media.fault
        if self._cut and self._fault is None:
            self._fault = "the file ends before its container says"
        if self._fault is not None:
            yield from self._drain()

    def _drain(self) -> list[VideoFrame]:
        """The frames that the decoder still holds when the packets end early."""
        try:
            return list(self._stream.codec_context.decode(None))
        except av.FFmpegError:
            return []

    def _record(self, frame: VideoFrame) -> bool:
        """Remember a key frame; False if it shows that the count was wrong since the last seek."""
        pts = frame.pts
        if pts is None or (self._anchor_pts is not None and pts <= self._anchor_pts):
            self._anchors.distrust()
        if pts is None or not frame.key_frame:
            self._max_pts = _later(self._max_pts, pts)
            return True
        known_pts = self._anchors.pts_at(self.next_index)
        if known_pts is not None and known_pts != pts:
            self._anchors.distrust()
            return False
        if self._max_pts is None or pts > self._max_pts:
            self._anchors.add(Anchor(self.next_index, pts))
            self._anchor_pts = pts
        self._max_pts = _later(self._max_pts, pts)
        return True

    def _go_near(self, index: int) -> None:
        anchor = self._anchors.floor(index)
        start = 0 if anchor is None else anchor.index
        if start <= self.next_index <= index:
            return
        if anchor is None or anchor.index == 0 or not self._seek(anchor):
            self._reopen()

    def _reopen(self) -> None:
        self.close()
        self._open()

    def _seek(self, anchor: Anchor) -> bool:
        """Make ``anchor`` the next frame; False if the file cannot be decoded from there."""
        time_base = self._stream.time_base
        if time_base is None:
            return False
        for margin_s in _SEEK_MARGINS_S:
            target = anchor.pts - round(margin_s / time_base)
            try:
                self._container.seek(target, stream=self._stream, backward=True)
            except av.FFmpegError:
                return False
            self._frames.close()
            self._frames = self._decode()
            for frame in self._frames:
                if frame.pts is None or frame.pts > anchor.pts:
                    break
                if frame.pts == anchor.pts:
                    self._frames = _prepend(frame, self._frames)
                    self.next_index = anchor.index
                    self._anchor_pts = self._max_pts = None
                    return True
        return False


def _reason(error: av.FFmpegError | ValueError) -> str:
    return (error.strerror if isinstance(error, av.FFmpegError) else None) or str(error)


def _later(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def _prepend(first: VideoFrame, rest: Iterator[VideoFrame]) -> Generator[VideoFrame, None, None]:
    yield first
    yield from rest


def _open_media(path: Path, roots: AllowedRoots) -> MediaFile:
    try:
        return MediaFile(path, roots)
    except InputError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise SourceError(
            f"{path} cannot be read as a video: {_reason(error)}; expected a video file, a picture "
            "or a folder of JPEG or PNG frames"
        ) from error


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        # The cover of an audio file is declared as a video stream of one picture.
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise SourceError(f"{path} holds no video stream")
