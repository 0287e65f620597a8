"""What comes by HTTP and is read by FFmpeg: files, streams without an end, and HLS."""

from __future__ import annotations

import io
import tempfile
from typing import BinaryIO

import av
from av.container import InputContainer

from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.faults import LiveSourceError
from maskstream.pipeline.live.frames import FaultKind
from maskstream.pipeline.live.http import HttpClient
from maskstream.pipeline.live.http_body import HttpBody, absolute_playlist
from maskstream.pipeline.live.url import SourceAddress
from maskstream.pipeline.sources.media import (
    MAX_PLAYLIST_BYTES,
    Reads,
    decrypted,
    is_crypto,
    open_hls,
    open_media,
)

# An encrypted part of a playlist is decrypted as a whole.
_MAX_ENCRYPTED_BYTES = 2**28
# It may end so much before its declared duration.
_DURATION_SLACK_S = 1.0
# Containers that say how long they are. FFmpeg estimates the others from their bit rate.
_DECLARES_DURATION = ("mov", "matroska", "avi", "flv", "hls")


class HttpMedia:
    """A body that FFmpeg reads, or a playlist whose parts it reads.

    Whether it is live is what the protocol says. A body whose length is told is a file: it is read
    once, without loss. So is one whose length is not told, if it ends within two seconds or comes
    faster than a camera sends. Others are live. A live body that ends has ended for good if the
    server said so (chunks) or if it came much faster than it plays; otherwise it was cut off. A
    playlist is live if its end is not marked.

    Attributes:
        container: PyAV's.
        is_live: as above.
    """

    def __init__(
        self, client: HttpClient, body: HttpBody, address: SourceAddress, config: LiveConfig
    ) -> None:
        """Open it.

        Raises:
            LiveSourceError: it breaks off, or names what may not be connected to.
            av.FFmpegError: FFmpeg cannot read it.
        """
        self._client = client
        self._body = body
        self._address = address
        self._request_s = config.open_timeout_s + config.read_timeout_s
        self._first: bytes | None = None
        self._part_fault: LiveSourceError | None = None
        self._is_hls = body.is_playlist
        timeout = (config.open_timeout_s, config.read_timeout_s)
        if self._is_hls:
            self._first = _playlist(body)
            self.container: InputContainer = self._open_playlist(body.url, timeout)
            self.is_live = not self.container.duration
        else:
            self.is_live = not body.settle()
            self.container = open_media(body, timeout=timeout)

    def _open_playlist(self, url: str, timeout: tuple[float, float]) -> InputContainer:
        try:
            container = open_hls(url, self._open_part, timeout)
        except av.FFmpegError:
            fault = self._part_fault
            if fault is None:
                raise
        else:
            fault = self.refusal
            if fault is None:
                return container
            container.close()
        raise fault

    @property
    def refusal(self) -> LiveSourceError | None:
        """A part that may not be read, or None: then nothing more is."""
        fault = self._part_fault
        return fault if fault is not None and fault.fault.kind == FaultKind.FORBIDDEN else None

    def end_fault(self, played_s: float) -> LiveSourceError | None:
        """Why there are no more packets; None when it has ended.

        Args:
            played_s: the time from its first frame to its last, as it plays.
        """
        fault = self.refusal or (None if self._is_hls else self._body.fault)
        if fault is not None:
            return fault
        if self.is_live and not self._has_ended(played_s):
            return self._part_fault or self._lost("the other side ended the stream")
        duration_s = self._declared_duration_s()
        if not self.is_live and played_s < duration_s - _DURATION_SLACK_S:
            return self._lost(f"it ended after {max(played_s, 0):.1f} of {duration_s:.1f} s")
        return None

    def _has_ended(self, played_s: float) -> bool:
        if self._is_hls or not self._body.is_over:
            return False
        return self._body.is_chunked or played_s > 1.5 * self._body.took_s + 0.5

    def _declared_duration_s(self) -> float:
        name = self.container.format.name
        if not name.startswith(_DECLARES_DURATION) or self.container.duration is None:
            return 0.0
        return self.container.duration / 1e6

    def _lost(self, what: str) -> LiveSourceError:
        if self._part_fault is not None:
            what += f"; {self._part_fault.fault.message}"
        return LiveSourceError.of(FaultKind.DISCONNECTED, self._address, what)

    def _open_part(self, url: str, flags: int, options: dict[str, str]) -> Reads:
        """Open a part of the playlist for FFmpeg; what cannot be opened is empty."""
        del flags
        if self._first is not None:
            first, self._first = self._first, None
            return io.BytesIO(first)
        self._client.allow(self._request_s)
        is_encrypted, location = is_crypto(url)
        try:
            start = int(options.get("offset", 0))
            end = int(options["end_offset"]) if "end_offset" in options else None
            part = self._client.get(location, start, end)
            if is_encrypted:
                with tempfile.TemporaryFile() as file:
                    return io.BytesIO(_decrypt(part, file, options))
            return io.BytesIO(_playlist(part)) if part.is_playlist else part
        except LiveSourceError as error:
            self._part_fault = error
            return io.BytesIO()


def _playlist(body: HttpBody) -> bytes:
    text = body.read_all(MAX_PLAYLIST_BYTES).decode(errors="replace")
    body.close()
    return absolute_playlist(text, body.url).encode()


def _decrypt(part: HttpBody, file: BinaryIO, options: dict[str, str]) -> bytes:
    file.write(part.read_all(_MAX_ENCRYPTED_BYTES))
    part.close()
    file.flush()
    return decrypted(file, options)
