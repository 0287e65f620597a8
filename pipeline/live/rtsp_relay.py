"""Stands between FFmpeg and an RTSP server, so that FFmpeg connects to nobody else."""

from __future__ import annotations

import io
import re
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from maskstream.core.closing import Closing
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.faults import LiveSourceError
from maskstream.pipeline.live.frames import FaultKind
from maskstream.pipeline.live.hosts import connect
from maskstream.pipeline.live.tls import tls_context
from maskstream.pipeline.live.url import SourceAddress

_HERE = "127.0.0.1"
_PORTS = {"rtsp": 554, "rtsps": 322}
_MAX_HEAD_BYTES = 2**16
_COPY_BYTES = 2**16
_STATUS = re.compile(rb"RTSP/\d\.\d (\d{3})")
_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d{1,7})\s*$")


class RtspRelay(Closing):
    """Connects to an address that the host filter admits, and hands on what both sides say.

    FFmpeg looks hosts up by itself and follows redirects by itself. Here it sees only this relay,
    and no redirect: one ends the connection, with ``fault`` saying so. TLS is the relay's, which
    checks the certificate against the name. All packets come by TCP.

    Attributes:
        location: the URL for FFmpeg.
        fault: why the relay ended the connection, or None.
    """

    def __init__(self, address: SourceAddress, config: LiveConfig) -> None:
        """Connect to the server.

        Raises:
            HostRefusedError: the host may not be connected to.
            OSError: it cannot be reached, or its certificate is not trusted.
        """
        self._address = address
        parts = urlsplit(address.reveal())
        host = parts.hostname or ""
        self.fault: LiveSourceError | None = None
        server = connect(
            host, parts.port or _PORTS[address.scheme], config.hosts, config.open_timeout_s
        )
        if address.scheme == "rtsps":
            server = tls_context(config).wrap_socket(server, server_hostname=host)
        server.settimeout(None)
        self._listener = socket.create_server((_HERE, 0))
        self._listener.settimeout(config.open_timeout_s)
        self._ends = [server]
        self._lock = threading.Lock()
        self._is_closed = False
        login, at, _ = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.location = urlunsplit(
            parts._replace(scheme="rtsp", netloc=f"{login}{at}{_HERE}:{port}")
        )
        threading.Thread(target=self._run, name="rtsp-relay", daemon=True).start()

    def close(self) -> None:
        """End both connections."""
        with self._lock:
            self._is_closed = True
            self._listener.close()
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _run(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            client.settimeout(None)
            with self._lock:
                self._listener.close()
                if self._is_closed:
                    client.close()
                    return
                self._ends.append(client)
            back = threading.Thread(
                target=self._backward, args=(client,), name="rtsp-relay-back", daemon=True
            )
            back.start()
            while data := client.recv(_COPY_BYTES):
                self._ends[0].sendall(data)
        self.close()

    def _backward(self, client: socket.socket) -> None:
        with suppress(OSError), self._ends[0].makefile("rb") as server:
            while message := self._next(server):
                client.sendall(message)
        self.close()

    def _next(self, server: io.BufferedReader) -> bytes:
        """The next message or packet; nothing at the end, and in place of a redirect."""
        first = server.read(1)
        if first == b"$":
            head = server.read(3)
            return first + head + server.read(int.from_bytes(head[1:], "big"))
        head = first
        while not head.endswith((b"\r\n\r\n", b"\n\n")):
            line = server.readline(_MAX_HEAD_BYTES)
            if not line or len(head) > _MAX_HEAD_BYTES:
                return b""
            head += line
        status = _STATUS.match(head)
        if status is not None and status[1].startswith(b"3"):
            what = "the server redirects to another address; give that one"
            self.fault = LiveSourceError.of(FaultKind.REJECTED, self._address, what)
            return b""
        length = _LENGTH.search(head)
        return head + (b"" if length is None else server.read(int(length[1])))
