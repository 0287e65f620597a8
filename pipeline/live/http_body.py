"""The body of an HTTP answer, as a file that FFmpeg reads."""

from __future__ import annotations

import http.client
import io
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from maskstream.core.errors import InputError
from maskstream.pipeline.live.faults import LiveSourceError

if TYPE_CHECKING:
    from maskstream.pipeline.live.http import HttpClient

_PLAYLIST = b"#EXTM3U"
_URI = re.compile(r'(URI=")([^"]*)(")')
# A seek that goes on so little reads on, instead of connecting anew.
_READ_ON_BYTES = 2**18
# A body whose length is not told may be a file or a camera. It is a file when it ends so soon, or
# comes faster than any camera sends.
_SETTLE_S = 2.0
_SETTLE_BYTES = 2**22


class HttpBody:
    """The body of an answer, as a file that FFmpeg reads.

    It never raises into FFmpeg: at an error it ends, and ``fault`` says why.

    Attributes:
        name: what FFmpeg may know of its address: the last part of the path.
        fault: why it broke off, or None.
        is_over: whether all of it was read, and nothing is missing.
    """

    def __init__(
        self, client: HttpClient, response: http.client.HTTPResponse, url: str, start: int
    ) -> None:
        self._client = client
        self._url = url
        self._response = response
        self._position = self._response_at = start
        self._held = b""
        self._whole: io.BytesIO | None = None
        first, total = range_of(response)
        if response.status == 206 and first == start:
            self.length, self._is_seekable = total, total is not None
        else:
            # The answer begins at 0, whatever was asked for.
            self._response_at = 0
            self.length, self._is_seekable = response.length, False
        self.url = response.url
        self.name = urlsplit(response.url).path.rpartition("/")[2]
        self.media_type = response.headers.get_content_type()
        self.is_chunked = bool(getattr(response, "chunked", False))
        self.fault: LiveSourceError | None = None
        self.is_over = False
        self.closed = False
        self._opened_s = self._last_s = time.monotonic()

    @property
    def took_s(self) -> float:
        """How long it has been coming, until its newest byte."""
        return self._last_s - self._opened_s

    @property
    def is_playlist(self) -> bool:
        """Whether it is an HLS playlist."""
        return self.peek(len(_PLAYLIST)).startswith(_PLAYLIST)

    def peek(self, size: int) -> bytes:
        """The next bytes, which are read again later."""
        while len(self._held) < size and (more := self._receive(size - len(self._held))):
            self._held += more
        return self._held[:size]

    def settle(self) -> bool:
        """Find out whether a body whose length is not told is a file: it ends soon, or comes faster
        than a camera sends.
        """
        if self.length is not None:
            return True
        held = [self._held]
        num_bytes = len(self._held)
        until_s = time.monotonic() + _SETTLE_S
        while num_bytes < _SETTLE_BYTES and time.monotonic() < until_s:
            more = self._receive(_SETTLE_BYTES - num_bytes)
            if not more:
                break
            held.append(more)
            num_bytes += len(more)
        self._held = b"".join(held)
        if self.is_over:
            self._keep_whole()
            return True
        return num_bytes >= _SETTLE_BYTES

    def read_all(self, limit: int) -> bytes:
        """All of it.

        Raises:
            LiveSourceError: it broke off, or is longer than ``limit``.
        """
        data = self.peek(limit + 1)
        if self.fault is not None:
            raise self.fault
        if len(data) > limit:
            raise self._client.fault(InputError(f"a part of it is longer than {limit:,} bytes"))
        return data

    # What FFmpeg calls.

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end, and none any more after a fault."""
        if self._whole is not None:
            return self._whole.read(size)
        if self._position != self._response_at - len(self._held) and not self._go():
            return b""
        if self._held:
            data, self._held = self._held[:size], self._held[size:]
        else:
            data = self._receive(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files do; connects anew only when it is read from there."""
        if self._whole is not None:
            return self._whole.seek(offset, whence)
        base = {0: 0, 1: self._position, 2: self.length or 0}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position if self._whole is None else self._whole.tell()

    def seekable(self) -> bool:
        """Whether the server can begin in the middle."""
        return self._is_seekable

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self._response.close()

    # Of its own.

    def _keep_whole(self) -> None:
        self._whole = io.BytesIO(self._held)
        self.length, self._is_seekable = len(self._held), True

    def _receive(self, size: int) -> bytes:
        """The next bytes of the connection; none at the end or at a fault."""
        if self.fault is not None or self.is_over:
            return b""
        try:
            if self._client.left_s() == 0.0:
                raise TimeoutError
            data = self._response.read1(size)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.fault = self._client.fault(error)
            return b""
        self._response_at += len(data)
        if data:
            self._last_s = time.monotonic()
        else:
            if self._response.length:
                self.fault = self._client.fault(http.client.IncompleteRead(b""))
            else:
                self.is_over = True
        return data

    def _go(self) -> bool:
        """Bring the connection to the position; False at a fault."""
        ahead = self._position - (self._response_at - len(self._held))
        if 0 <= ahead <= len(self._held):
            self._held = self._held[ahead:]
            return True
        if self.fault is not None:
            return False
        if self.length is not None and self._position >= self.length:
            return False
        if ahead > 0 and (ahead <= _READ_ON_BYTES or not self._is_seekable):
            return self._read_on(ahead - len(self._held))
        self._response.close()
        self._held, self.is_over = b"", False
        try:
            self._response = self._client.respond_again(self._url, self._position)
        except (OSError, http.client.HTTPException, InputError, ValueError) as error:
            self.fault = self._client.fault(error)
            return False
        self._response_at = self._position
        return True

    def _read_on(self, num_bytes: int) -> bool:
        """Pass over so many bytes; False at the end."""
        self._held = b""
        while num_bytes and (passed := len(self._receive(min(num_bytes, _READ_ON_BYTES)))):
            num_bytes -= passed
        return not num_bytes


def absolute_playlist(text: str, base: str) -> str:
    """A playlist whose parts are named by whole URLs: FFmpeg does not know of our redirects."""
    lines = []
    for line in text.splitlines():
        if line.startswith("#"):
            line = _URI.sub(lambda found: found[1] + urljoin(base, found[2]) + found[3], line)
        elif line.strip():
            line = urljoin(base, line.strip())
        lines.append(line)
    return "\n".join(lines) + "\n"


def range_of(response: http.client.HTTPResponse) -> tuple[int | None, int | None]:
    """Where an answer begins in the whole, and how long that is."""
    found = re.fullmatch(
        r"bytes (\d+)-\d+/(\d+|\*)", (response.headers.get("Content-Range") or "").strip()
    )
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])
