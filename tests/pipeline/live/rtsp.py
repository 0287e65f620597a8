"""A real RTSP server in a process of its own, and a proxy that adds what it lacks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.pipeline.ports import HOST, free_port

_REALM = "cameras"
_NONCE = "5f0c2a"


class RtspServer:
    """``rtsp-server`` over a folder; killed, frozen and started again on the same port."""

    def __init__(self, folder: Path, *, start: bool = True) -> None:
        self._folder = folder
        self._control_port = free_port()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if start:
            self.start()

    def url(self, name: str = "clip.mp4", play_count: int = 0, port: int | None = None) -> str:
        """Address of a file; ``play_count`` 0 plays it for ever."""
        return f"rtsp://{HOST}:{port or self.port}/{name}?play_count={play_count}"

    def start(self) -> float:
        """Start it; monotonic time at which it accepted."""
        program = Path(sys.executable).with_name("rtsp-server")
        self._process = subprocess.Popen(
            [
                *(str(program), "--dir", str(self._folder), "--host", HOST),
                *("--port", str(self.port), "--control-port", str(self._control_port)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((HOST, self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, "rtsp-server has ended"
                assert time.monotonic() < deadline_s, "rtsp-server does not accept"
                time.sleep(0.01)
            else:
                return time.monotonic()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restore(self) -> None:
        """Running again, whatever was done to it."""
        assert self._process is not None
        if self._process.poll() is None:
            self.thaw()
        else:
            self.start()

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.kill()


class Listener:
    """Accepts on a port of its own; every connection gets a thread, all end with it."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._socket = socket.create_server((HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accept_thread = threading.Thread(target=self._accept, daemon=True)
        self._accept_thread.start()

    def own(self, *sockets: socket.socket) -> None:
        """Have these closed at the end too."""
        self._open += sockets

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.own(client)
            thread = threading.Thread(target=self._run, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._serve(client)
        hang_up(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        hang_up(self._socket)
        self._accept_thread.join(5)
        for opened in self._open:
            hang_up(opened)
        for thread in self._threads:
            thread.join(5)


def hang_up(connection: socket.socket) -> None:
    """Close a socket, and wake whoever waits on it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class RtspProxy(Listener):
    """Stands before an RTSP server that knows only TCP and no passwords, and adds

    - passwords (``credentials``, Basic or Digest, RFC 2617), which may be changed at any time;
    - RTP over UDP, of which a share gets lost.
    """

    def __init__(
        self,
        upstream_port: int,
        *,
        credentials: tuple[str, str] | None = None,
        digest: bool = False,
        loss: float = 0.0,
    ) -> None:
        self._upstream_port = upstream_port
        self.credentials = credentials
        self._digest = digest
        self._loss = loss
        self._rng = random.Random(0)
        self.num_refused = 0
        self.num_udp = 0
        self.num_lost = 0
        super().__init__(self._proxy)

    def _proxy(self, client: socket.socket) -> None:
        upstream = socket.create_connection((HOST, self._upstream_port), 5)
        upstream.settimeout(None)
        udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for end in udp:
            end.bind((HOST, 0))
        self.own(upstream, *udp)
        link = _Link(client, upstream, udp)
        back = threading.Thread(target=self._backward, args=(link,), daemon=True)
        back.start()
        try:
            self._forward(link)
        finally:
            hang_up(upstream)
            back.join(5)
            for end in udp:
                end.close()

    def _forward(self, link: _Link) -> None:
        with link.client.makefile("rb") as stream:
            while True:
                first = _exactly(stream.read(1), 1)
                if first == b"$":
                    head = _exactly(stream.read(3), 3)
                    size = int.from_bytes(head[1:], "big")
                    link.upstream.sendall(first + head + _exactly(stream.read(size), size))
                    continue
                request = first
                while not request.endswith(b"\r\n\r\n"):
                    request += _exactly(stream.readline(), 1)
                self._request(link, request.decode())

    def _request(self, link: _Link, text: str) -> None:
        cseq = _header(text, "CSeq")
        if self.credentials is not None and not self._knows(text, *self.credentials):
            self.num_refused += 1
            scheme = f'Digest realm="{_REALM}", nonce="{_NONCE}"'
            challenge = scheme if self._digest else f'Basic realm="{_REALM}"'
            link.send_text(
                f"RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\n"
                f"WWW-Authenticate: {challenge}\r\n\r\n"
            )
            return
        ports = re.search(r"client_port=(\d+)-(\d+)", text)
        if ports:
            link.client_ports = (int(ports[1]), int(ports[2]))
            text = re.sub(
                r"Transport: [^\r]*", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", text
            )
        link.upstream.sendall(text.encode())

    def _knows(self, request: str, user: str, password: str) -> bool:
        given = _header(request, "Authorization")
        if not self._digest:
            return given == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        fields = dict(re.findall(r'(\w+)="([^"]*)"', given))
        method = request.split(" ", 1)[0]
        secret = _md5(f"{user}:{_REALM}:{password}")
        expected = _md5(f"{secret}:{_NONCE}:" + _md5(f"{method}:{fields.get('uri', '')}"))
        return fields.get("response") == expected

    def _backward(self, link: _Link) -> None:
        with contextlib.suppress(OSError, EOFError), link.upstream.makefile("rb") as stream:
            while True:
                first = _exactly(stream.read(1), 1)
                if first == b"$":
                    head = _exactly(stream.read(3), 3)
                    size = int.from_bytes(head[1:], "big")
                    self._media(link, head, _exactly(stream.read(size), size))
                    continue
                answer = first
                while not answer.endswith(b"\r\n\r\n"):
                    answer += _exactly(stream.readline(), 1)
                text = answer.decode()
                size = int(_header(text, "Content-Length") or 0)
                body = _exactly(stream.read(size), size).decode()
                link.send_text(link.as_udp(text) + body)
        hang_up(link.client)

    def _media(self, link: _Link, head: bytes, packet: bytes) -> None:
        if link.client_ports is None:
            link.send(b"$" + head + packet)
            return
        is_rtcp = head[0] == 1
        self.num_udp += 1
        if not is_rtcp and self._rng.random() < self._loss:
            self.num_lost += 1
            return
        link.udp[is_rtcp].sendto(packet, (HOST, link.client_ports[is_rtcp]))


class _Link:
    """One client's two connections."""

    def __init__(
        self, client: socket.socket, upstream: socket.socket, udp: list[socket.socket]
    ) -> None:
        self.client = client
        self.upstream = upstream
        self.udp = udp
        self.client_ports: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._lock:
            self.client.sendall(data)

    def send_text(self, text: str) -> None:
        self.send(text.encode())

    def as_udp(self, answer: str) -> str:
        """The server's answer to SETUP as if it had been asked for UDP."""
        if self.client_ports is None:
            return answer
        own = "-".join(str(end.getsockname()[1]) for end in self.udp)
        theirs = "-".join(map(str, self.client_ports))
        return re.sub(
            r"Transport: [^\r]*",
            f"Transport: RTP/AVP;unicast;client_port={theirs};server_port={own}",
            answer,
        )


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise EOFError
    return data


def _header(text: str, name: str) -> str:
    found = re.search(rf"^{name}:[ ]*([^\r]*)\r$", text, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
