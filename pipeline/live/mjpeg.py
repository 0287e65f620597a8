"""Motion JPEG over HTTP: one JPEG after another, with the times of their arrival."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.faults import LiveSourceError
from maskstream.pipeline.live.frames import FaultKind
from maskstream.pipeline.live.http import HttpClient
from maskstream.pipeline.live.http_body import HttpBody
from maskstream.pipeline.live.stream_frame import StreamFrame
from maskstream.pipeline.live.url import SourceAddress

_START = b"\xff\xd8\xff"
_MAX_PICTURE_BYTES = 32 * 2**20
_READ_BYTES = 2**16
# Markers (ITU-T T.81, B.1.1): stand-alone ones, start of scan, end of image, start of image.
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN, _END, _BEGIN = 0xDA, 0xD9, 0xD8


def is_mjpeg(body: HttpBody) -> bool:
    """Whether a body is pictures without an end: so it says, or so it begins."""
    if body.media_type == "multipart/x-mixed-replace":
        return True
    return body.length is None and body.peek(len(_START)) == _START


class MjpegReader:
    """Reads a camera's pictures.

    What stands between the pictures (boundaries, headers) is passed over, so it matters neither how
    a camera writes it nor whether it comes before the first picture. Each picture is complete at
    its end marker: it is not held back until the next one comes.
    """

    is_live = True
    is_clocked = False
    codec = "mjpeg"

    def __init__(
        self, client: HttpClient, body: HttpBody, address: SourceAddress, config: LiveConfig
    ) -> None:
        self._client = client
        self._body = body
        self._address = address
        self._read_timeout_s = config.read_timeout_s
        self.num_bad_packets = 0

    def frames(self) -> Generator[StreamFrame, None, None]:
        """See ``Connection.frames``."""
        decoder = VideoCodecContext.create("mjpeg", "r")
        decoder.thread_count = 1  # with more, it would hold pictures back
        reformatter = VideoReformatter()
        first_s: float | None = None
        for picture in split_jpegs(self._more):
            now_s = time.monotonic()
            first_s = now_s if first_s is None else first_s
            try:
                decoded = decoder.decode(av.Packet(picture))
            except av.FFmpegError:
                self.num_bad_packets += 1
                continue
            for frame in decoded:
                yield StreamFrame(frame, now_s - first_s, reformatter)
        what = "the other side ended the stream"
        raise self._body.fault or LiveSourceError.of(FaultKind.DISCONNECTED, self._address, what)

    def close(self) -> None:
        """See ``Connection.close``."""
        self._client.close()

    def _more(self) -> bytes:
        self._client.allow(self._read_timeout_s)
        return self._body.read(_READ_BYTES)


def split_jpegs(more: Callable[[], bytes]) -> Generator[bytes, None, None]:
    """Cut JPEG files out of bytes that come in pieces.

    Args:
        more: gives the next piece; an empty one at the end.

    Yields:
        Each file, from its start to its end marker. One that breaks off, or is larger than 32 MiB,
        is left out.
    """
    data = bytearray()
    while piece := more():
        data += piece
        while (start := data.find(_START)) >= 0:
            del data[:start]
            end, is_whole = _end_of_jpeg(data)
            if end is None:
                if len(data) > _MAX_PICTURE_BYTES:
                    del data[: len(_START)]
                    continue
                break
            if is_whole:
                yield bytes(data[:end])
            del data[:end]
        else:
            del data[: max(0, len(data) - len(_START) + 1)]


def _end_of_jpeg(data: bytearray) -> tuple[int | None, bool]:
    """Where the JPEG at the start of ``data`` ends, and whether it is whole; None: not yet seen."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return position, False
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif marker == _END:
            return position + 2, True
        elif marker == _BEGIN:
            return position, False
        elif marker in _ALONE:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            if marker == _SCAN:
                position = _end_of_scan(data, position)
    if position + 2 <= len(data) and data[position : position + 2] == bytes((0xFF, _END)):
        return position + 2, True
    return None, False


def _end_of_scan(data: bytearray, position: int) -> int:
    """Where the next marker stands that is not part of the coded picture."""
    while (found := data.find(b"\xff", position)) >= 0 and found + 1 < len(data):
        marker = data[found + 1]
        if marker != 0 and marker not in _ALONE:
            return found
        position = found + 2
    return len(data)
