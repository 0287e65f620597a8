"""One connection to a stream: opened by PyAV, read and decoded until it ends."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

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
from maskstream.pipeline.live.hosts import connect
from maskstream.pipeline.live.http import HttpClient
from maskstream.pipeline.live.http_body import HttpBody
from maskstream.pipeline.live.http_media import HttpMedia
from maskstream.pipeline.live.mjpeg import MjpegReader, is_mjpeg
from maskstream.pipeline.live.rtsp_relay import RtspRelay
from maskstream.pipeline.live.stream_frame import StreamFrame, time_of
from maskstream.pipeline.live.timeline import ForwardTimes
from maskstream.pipeline.live.url import SourceAddress
from maskstream.pipeline.sources.media import open_media

# Over UDP: how long to wait for a packet that a later one has overtaken, and room for the packets
# of a key frame.
_UDP_REORDER_S = 0.2
_UDP_BUFFER_BYTES = 4 * 2**20
# Where FFmpeg may connect to by itself: never to files of this machine, and HTTP is ours.
_RTSP = ("rtsp", "rtsps")
_TLS = ("rtsps", "rtmps")
_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "tcp": 0}
_PROTOCOLS = "tls,tcp,udp,rtp,srtp,rtmp,rtmps,srt"
# Schemes that are demuxers of their own, and FFmpeg's name for the cameras of this machine.
_DEMUXERS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtp": "rtp"}
# FFmpeg's mark of containers that hold no times (AVFMT_NOTIMESTAMPS).
_NO_TIMES = 0x80
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
    def is_clocked(self) -> bool:
        """Whether its frames have times of their own; else they have those of their arrival."""
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


def connect_stream(address: SourceAddress, config: LiveConfig) -> Connection:
    """Connect to a stream or a camera.

    Raises:
        LiveSourceError: with the kind of the fault, and without credentials.
    """
    if address.scheme not in ("http", "https"):
        return StreamReader(address, config)
    client = HttpClient(address, config)
    # As long as FFmpeg's own time-outs, of which opening and probing have one each.
    client.allow(2 * config.open_timeout_s)
    try:
        body = client.get(address.reveal())
        if is_mjpeg(body):
            return MjpegReader(client, body, address, config)
        return StreamReader(address, config, (client, body))
    except LiveSourceError:
        client.close()
        raise


class StreamReader:
    """A connection that FFmpeg reads: by URL, to a camera device, or through our own HTTP.

    FFmpeg's calls block without holding the interpreter lock, and end at the open or read time-out
    at the latest. Packets that cannot be decoded are counted and skipped: the next key frame
    repairs the picture.
    """

    def __init__(
        self,
        address: SourceAddress,
        config: LiveConfig,
        http: tuple[HttpClient, HttpBody] | None = None,
    ) -> None:
        """Connect.

        Raises:
            LiveSourceError: with the kind of the fault, and without credentials.
        """
        self._address = address
        self._read_timeout_s = config.read_timeout_s
        self._client = None if http is None else http[0]
        self._media: HttpMedia | None = None
        self._relay: RtspRelay | None = None
        self.num_bad_packets = 0
        self._container = self._open(config, None if http is None else http[1])
        try:
            self._stream = _video_stream(self._container, address)
        except LiveSourceError:
            self.close()
            raise
        self.is_live = self._media is None or self._media.is_live
        # A demuxer without times makes some up, from a frame rate that it assumes.
        self.is_clocked = not (self.is_live and self._container.format.flags & _NO_TIMES)
        # With a thread a frame, FFmpeg would hold back as many frames as it has threads.
        self._stream.thread_type = "SLICE" if self.is_live else "AUTO"
        self.codec: str | None = self._stream.codec_context.name

    def frames(self) -> Generator[DecodedFrame, None, None]:
        """See ``Connection.frames``. Times of what is not live go forward only."""
        reformatter = VideoReformatter()
        times = _Times(self)
        waiting_since_s = time.monotonic()
        packets = self._container.demux(self._stream)
        try:
            while (packet := self._next(packets)) is not None:
                if packet.size:
                    waiting_since_s = time.monotonic()
                for frame in self._decode(packet):
                    yield StreamFrame(frame, times.place(frame), reformatter)
                    # The time that the consumer has taken is no silence of the server.
                    waiting_since_s = time.monotonic()
        except av.FFmpegError as error:
            fault: LiveSourceError | None = reading_fault(error, self._address)
        else:
            fault = self._end_fault(times, time.monotonic() - waiting_since_s)
        # Raised after the except block: FFmpeg's error holds the URL, and must not be its context.
        if fault is not None:
            raise fault

    def close(self) -> None:
        """See ``Connection.close``."""
        self._container.close()
        for owned in (self._client, self._relay):
            if owned is not None:
                owned.close()

    @property
    def time_base(self) -> Fraction | None:
        """Seconds of a tick of the stream's times."""
        return self._stream.time_base

    @property
    def start_s(self) -> float | None:
        """Where the container says that its times start."""
        start = self._container.start_time
        return None if start is None else start / av.time_base

    def _open(self, config: LiveConfig, body: HttpBody | None) -> InputContainer:
        started_s = time.monotonic()
        try:
            if body is None or self._client is None:
                return self._open_url(config)
            self._media = HttpMedia(self._client, body, self._address, config)
            return self._media.container
        except (av.FFmpegError, OSError, ValueError) as error:
            elapsed_s = time.monotonic() - started_s
            fault = opening_fault(error, self._address, elapsed_s, config.open_timeout_s)
            if body is not None and body.fault is not None:
                fault = body.fault
            if self._relay is not None:
                self._relay.close()
                fault = self._relay.fault or fault
        # Raised after the except block: FFmpeg's error holds the URL, and must not be its context.
        raise fault

    def _open_url(self, config: LiveConfig) -> InputContainer:
        hosts, options = config.hosts, stream_options(self._address, config)
        if hosts is None or hosts.for_this_machine or self._address.scheme not in _RTSP:
            return _open(self._address, checked_location(self._address, config), options, config)
        self._relay = RtspRelay(self._address, config)
        options["rtsp_transport"] = "tcp"
        return _open(self._address, self._relay.location, options, config)

    def _next(self, packets: Iterator[av.Packet[VideoStream]]) -> av.Packet[VideoStream] | None:
        """The next packet; None at the end, and where nothing more may be read."""
        if self._media is not None and self._client is not None:
            if self._media.refusal is not None:
                return None
            self._client.allow(2 * self._read_timeout_s)
        return next(packets, None)

    def _decode(self, packet: av.Packet[VideoStream]) -> list[VideoFrame]:
        try:
            return packet.decode()
        except av.FFmpegError:
            self.num_bad_packets += 1
            return []

    def _end_fault(self, times: _Times, waited_s: float) -> LiveSourceError | None:
        """The fault that ended the packets, if one did. FFmpeg ends them without an error even when
        a connection is lost.
        """
        if self._media is not None:
            return self._media.end_fault(times.played_s)
        if self._relay is not None and self._relay.fault is not None:
            return self._relay.fault
        # FFmpeg's time-out ends the packets in the same way as a server that disconnects.
        if waited_s >= 0.9 * self._read_timeout_s:
            what = f"no packet within {self._read_timeout_s:g} s"
            return LiveSourceError.of(FaultKind.TIMED_OUT, self._address, what)
        what = "the other side ended the stream"
        return LiveSourceError.of(FaultKind.DISCONNECTED, self._address, what)


class _Times:
    """The times of a connection's frames, in seconds."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._forward = None if reader.is_live else ForwardTimes()
        self._began_s = time.monotonic()
        self._first_s: float | None = reader.start_s
        self._last_s: float | None = None

    @property
    def played_s(self) -> float:
        """From the start to the last frame."""
        return (self._last_s or 0.0) - (self._first_s or 0.0)

    def place(self, frame: VideoFrame) -> float | None:
        """The time of the next frame."""
        if not self._reader.is_clocked:
            pts_s: float | None = time.monotonic() - self._began_s
        else:
            pts_s = time_of(frame, self._reader.time_base)
        if self._forward is not None:
            pts_s = self._forward.place(pts_s)
        if pts_s is not None:
            self._first_s = pts_s if self._first_s is None else self._first_s
            self._last_s = pts_s
        return pts_s


def stream_options(address: SourceAddress, config: LiveConfig) -> dict[str, str]:
    """FFmpeg's options for an address; times in microseconds."""
    if address.scheme == "v4l2":
        return {}
    read_timeout_us = str(round(config.read_timeout_s * 1e6))
    options: dict[str, str] = {}
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
    if address.scheme in _TLS:
        options["tls_verify"] = "1" if config.tls_verify else "0"
        ca_file = config.tls_ca_file or ssl.get_default_verify_paths().cafile
        if config.tls_verify and ca_file is not None:
            options["ca_file"] = str(ca_file)
    return options


def reads_cameras() -> bool:
    """Whether the installed PyAV can read /dev/video*."""
    # The list gives all names of a demuxer as one text: video4linux2,v4l2.
    return any(_CAMERAS in names.split(",") for names in av.formats_available)


def _open(
    address: SourceAddress, location: str, options: dict[str, str], config: LiveConfig
) -> InputContainer:
    demuxer = _CAMERAS if address.kind == "device" else None
    if demuxer is not None and not reads_cameras():
        what = f"the installed PyAV is built without Video4Linux; {NO_CAMERAS}"
        raise LiveSourceError.of(FaultKind.UNSUPPORTED, address, what)
    if address.scheme in _DEMUXERS:
        demuxer = _DEMUXERS[address.scheme]
    return open_media(
        location,
        demuxer=demuxer,
        protocols=_PROTOCOLS,
        options=options,
        timeout=(config.open_timeout_s, config.read_timeout_s),
    )


def checked_location(address: SourceAddress, config: LiveConfig) -> str:
    """The URL for FFmpeg, which looks hosts up by itself: with the address that was checked, where
    there is a filter.

    With TLS the name stays, since the certificate is compared with it. So all of its addresses must
    be admitted, and one who changes them between this check and FFmpeg's own look-up gets by. For
    RTSP this is only so where the service is for this machine alone; else there is ``RtspRelay``.

    Raises:
        HostRefusedError: the host may not be connected to.
        OSError: there is no such host.
    """
    location = address.reveal()
    if config.hosts is None or address.kind == "device":
        return location
    parts = urlsplit(location)
    host, port = parts.hostname or "", parts.port or _PORTS.get(address.scheme, 0)
    if address.scheme in _TLS and config.tls_verify:
        config.hosts.addresses(host, port, must_all_fit=True)
        return location
    checked = config.hosts.addresses(host, port)
    if len(checked) > 1 and address.scheme in _PORTS:
        with connect(host, port, config.hosts, config.open_timeout_s) as found:
            checked = [found.getpeername()[0]]
    login, at, _ = parts.netloc.rpartition("@")
    place = f"[{checked[0]}]" if ":" in checked[0] else checked[0]
    place += "" if parts.port is None else f":{parts.port}"
    return urlunsplit(parts._replace(netloc=f"{login}{at}{place}"))


def _video_stream(container: InputContainer, address: SourceAddress) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise LiveSourceError.of(FaultKind.INVALID, address, "it holds no video stream")
