"""A real HTTP server that answers as a test tells it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline.ports import HOST


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; ``wfile`` takes the answer."""

    protocol_version = "HTTP/1.1"

    def give(
        self, body: bytes, media_type: str = "application/octet-stream", *, ranges: bool = True
    ) -> None:
        """A body whose length is told, or the part of it that was asked for."""
        asked = self.headers.get("Range", "")
        start_text, _, end_text = asked.removeprefix("bytes=").partition("-")
        start, end = int(start_text or 0), int(end_text) + 1 if end_text else len(body)
        part = body[start:end] if ranges and asked else body
        self.begin(206 if ranges and asked else 200, media_type, Content_Length=str(len(part)),
                   **({"Content_Range": f"bytes {start}-{start + len(part) - 1}/{len(body)}"}
                      if ranges and asked else {}))  # fmt: skip
        self.wfile.write(part)

    def begin(self, status: int, media_type: str, **headers: str) -> None:
        """Status and headers; without a length the connection's end is the body's."""
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def chunk(self, data: bytes) -> None:
        """A chunk of a body that was begun with ``Transfer_Encoding="chunked"``; b"" ends it."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.asked.append(self.path)
        path = self.path.partition("?")[0]
        with suppress(OSError):  # the client has left
            if path in server.routes:
                server.routes[path](self)
            else:
                self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        return


Route = Callable[[Handler], None]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    routes: Mapping[str, Route]
    asked: list[str]


@dataclass
class Web:
    """A server that runs.

    Attributes:
        url: without a path.
        asked: the paths of all requests.
    """

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(routes: Mapping[str, Route], host: str = HOST) -> Iterator[Web]:
    """Serve some paths."""
    with _Server((host, 0), Handler) as server:
        server.routes, server.asked = routes, []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield Web(f"http://{host}:{server.server_port}", server.asked)
        server.shutdown()
        thread.join(10)


def folder(path: Path) -> dict[str, Route]:
    """Routes to all files of a folder."""
    return {f"/{one.name}": giving(one.read_bytes()) for one in path.iterdir() if one.is_file()}


def giving(body: bytes, media_type: str = "application/octet-stream") -> Route:
    """A body with its length and ranges."""
    return lambda handler: handler.give(body, media_type)


def streaming(body: bytes) -> Route:
    """A body with neither."""

    def route(handler: Handler) -> None:
        handler.begin(200, "video/x-matroska")
        handler.wfile.write(body)

    return route


def chunked(body: bytes) -> Route:
    """A body in chunks of a thousand bytes."""

    def route(handler: Handler) -> None:
        handler.begin(200, "application/octet-stream", Transfer_Encoding="chunked")
        for start in range(0, len(body), 1000):
            handler.chunk(body[start : start + 1000])
        handler.chunk(b"")

    return route


def redirecting(url: str, status: int = 302) -> Route:
    """A redirect."""
    return lambda handler: handler.begin(status, "text/plain", Location=url, Content_Length="0")
