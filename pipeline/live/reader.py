"""One connection to a stream: opened by PyAV, read and decoded until it ends."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Generator
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.faults import LiveSourceError, opening_fault, reading_fault
from maskstream.pipeline.live.frames import FaultKind
from maskstream.pipeline.live.url import SourceAddress
from maskstream.pipeline.sources.orientation import orientation_of

# Over UDP: how long to wait for a packet that a later one has overtaken, and room for the packets
# of a key frame.
_UDP_REORDER_S = 0.2
_UDP_BUFFER_BYTES = 4 * 2**20
# A file that is read over the network may end so much before its declared duration.
_DURATION_SLACK_S = 1.0
# Where playlists and redirects may lead: never to files of this machine.
_PROTOCOLS = "http,https,httpproxy,tls,tcp,udp,rtp,srtp,rtsp,rtmp,rtmps,srt,crypto"
# FFmpeg's name for the cameras of this machine.
_CAMERAS = "v4l2"
NO_CAMERAS = (
    "install a PyAV built against the system's FFmpeg (pip install --no-binary av av), or serve "
    "the camera over RTSP"
)


class DecodedFrame(Protocol):
    """A frame out of the decoder, not yet converted."""

    @property
    def pts_s(self) -> float | None:
        """Presentation time in seconds."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        ...

    @property
    def is_corrupt(self) -> bool:
        """Whether the decoder marks it as damaged."""
        ...

    def to_rgb(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB, rotation applied; None when it cannot be converted."""
        ...


class Connection(Protocol):
    """One connection, or one pass over a file. Used by one thread."""

    @property
    def is_live(self) -> bool:
        """Whether it can only end by a fault; the end of others is the end of the source."""
        ...

    @property
    def codec(self) -> str | None:
        """Name of the codec, where there is one."""
        ...

    @property
    def num_bad_packets(self) -> int:
        """Packets that could not be decoded, so far."""
        ...

    def frames(self) -> Generator[DecodedFrame, None, None]:
        """Decode to the end.

        Raises:
            LiveSourceError: the connection was lost.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


Connector = Callable[[SourceAddress, LiveConfig], Connection]


class StreamFrame:
    """A frame of PyAV."""

    def __init__(
        self, frame: VideoFrame, time_base: Fraction | None, reformatter: VideoReformatter
    ) -> None:
        self._frame = frame
        self._reformatter = reformatter
        self._orientation = orientation_of(frame)
        time_base = frame.time_base or time_base
        pts = frame.pts
        self.pts_s = None if pts is None or time_base is None else float(pts * time_base)
        self.size = self._orientation.shown_size(frame.width, frame.height)
        self.is_corrupt = bool(frame.is_corrupt)

    def to_rgb(self) -> NDArray[np.uint8] | None:
        """See ``DecodedFrame.to_rgb``."""
        try:
            rgb = self._reformatter.reformat(self._frame, format="rgb24", threads=1)
        except (av.FFmpegError, ValueError):
            return None
        return self._orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))


class StreamReader:
    """A connection by URL or to a camera device.

    FFmpeg's calls block without holding the interpreter lock, and end at the open or read time-out
    at the latest. Packets that cannot be decoded are counted and skipped: the next key frame
    repairs the picture.
    """

    def __init__(self, address: SourceAddress, config: LiveConfig) -> None:
        """Connect.

        Raises:
            LiveSourceError: with the kind of the fault, and without credentials.
        """
        self._address = address
        self._read_timeout_s = config.read_timeout_s
        self.num_bad_packets = 0
        self._container = _open(address, config)
        try:
            self._stream = _video_stream(self._container, address)
        except LiveSourceError:
            self._container.close()
            raise
        self._duration_s = _declared_duration_s(self._container, address)
        self.is_live = self._duration_s is None
        # With a thread a frame, FFmpeg would hold back as many frames as it has threads.
        self._stream.thread_type = "SLICE" if self.is_live else "AUTO"
        self.codec: str | None = self._stream.codec_context.name

    def frames(self) -> Generator[DecodedFrame, None, None]:
        """See ``Connection.frames``."""
        reformatter = VideoReformatter()
        last_pts_s: float | None = None
        waiting_since_s = time.monotonic()
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    waiting_since_s = time.monotonic()
                for frame in self._decode(packet):
                    decoded = StreamFrame(frame, self._stream.time_base, reformatter)
                    last_pts_s = decoded.pts_s
                    yield decoded
                    # The time that the consumer has taken is no silence of the server.
                    waiting_since_s = time.monotonic()
        except av.FFmpegError as error:
            fault = reading_fault(error, self._address)
        else:
            self._check_end(last_pts_s, time.monotonic() - waiting_since_s)
            return
        # Raised after the except block: FFmpeg's error holds the URL, and must not be its context.
        raise fault

    def close(self) -> None:
        """See ``Connection.close``."""
        self._container.close()

    def _decode(self, packet: av.Packet[VideoStream]) -> list[VideoFrame]:
        try:
            return packet.decode()
        except av.FFmpegError:
            self.num_bad_packets += 1
            return []

    def _check_end(self, last_pts_s: float | None, waited_s: float) -> None:
        """Raise the fault that ended the packets, if one did. FFmpeg ends them without an error
        even when a connection is lost.
        """
        if self._duration_s is None:
            # FFmpeg's time-out ends the packets in the same way as a server that disconnects.
            if waited_s >= 0.9 * self._read_timeout_s:
                what = f"no packet within {self._read_timeout_s:g} s"
                raise LiveSourceError.of(FaultKind.TIMED_OUT, self._address, what)
            what = "the other side ended the stream"
            raise LiveSourceError.of(FaultKind.DISCONNECTED, self._address, what)
        start_s = (self._container.start_time or 0) / av.time_base
        end_s = -math.inf if last_pts_s is None else last_pts_s - start_s
        if end_s < self._duration_s - _DURATION_SLACK_S:
            what = f"it ended after {max(end_s, 0):.1f} of {self._duration_s:.1f} s"
            raise LiveSourceError.of(FaultKind.DISCONNECTED, self._address, what)


def stream_options(address: SourceAddress, config: LiveConfig) -> dict[str, str]:
    """FFmpeg's options for an address; times in microseconds."""
    if address.scheme == "v4l2":
        return {}
    read_timeout_us = str(round(config.read_timeout_s * 1e6))
    options = {"protocol_whitelist": _PROTOCOLS}
    if address.scheme in ("rtsp", "rtsps"):
        # The session description says what FFmpeg would find out by probing for a second.
        options |= {
            "rtsp_transport": "tcp" if address.scheme == "rtsps" else config.transport,
            "allowed_media_types": "video",
            "timeout": read_timeout_us,
            "probesize": "32",
            "analyzeduration": "0",
        }
        if options["rtsp_transport"] == "udp":
            options["buffer_size"] = str(_UDP_BUFFER_BYTES)
            options["max_delay"] = str(round(_UDP_REORDER_S * 1e6))
    else:
        options["rw_timeout"] = read_timeout_us
    if address.scheme in ("rtsps", "https"):
        options["tls_verify"] = "1" if config.tls_verify else "0"
        ca_file = config.tls_ca_file or ssl.get_default_verify_paths().cafile
        if config.tls_verify and ca_file is not None:
            options["ca_file"] = str(ca_file)
    return options


def reads_cameras() -> bool:
    """Whether the installed PyAV can read /dev/video*."""
    # The list gives all names of a demuxer as one text: video4linux2,v4l2.
    return any(_CAMERAS in names.split(",") for names in av.formats_available)


def _open(address: SourceAddress, config: LiveConfig) -> InputContainer:
    demuxer = _CAMERAS if address.kind == "device" else None
    if demuxer is not None and not reads_cameras():
        what = f"the installed PyAV is built without Video4Linux; {NO_CAMERAS}"
        raise LiveSourceError.of(FaultKind.UNSUPPORTED, address, what)
    started_s = time.monotonic()
    try:
        return av.open(
            address.reveal(),
            "r",
            format=demuxer,
            options=stream_options(address, config),
            timeout=(config.open_timeout_s, config.read_timeout_s),
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        elapsed_s = time.monotonic() - started_s
        fault = opening_fault(error, address, elapsed_s, config.open_timeout_s)
    # Raised after the except block: FFmpeg's error holds the URL, and must not be its context.
    raise fault


def _video_stream(container: InputContainer, address: SourceAddress) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise LiveSourceError.of(FaultKind.INVALID, address, "it holds no video stream")


def _declared_duration_s(container: InputContainer, address: SourceAddress) -> float | None:
    """The duration of a file that is read over the network, in seconds; None for others."""
    if address.scheme not in ("http", "https") or not container.duration:
        return None
    return container.duration / av.time_base
