"""Serves the web application on a port."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maskstream.core.closing import Closing
from maskstream.core.errors import ConfigError
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.gate import MAX_HEADER_BYTES, Gate

_MAX_MESSAGE_BYTES = 64 * 2**10
_START_S = 30.0
_STOP_S = 10


class WebServer(Closing):
    """Serves an application in a thread of its own, until it is closed.

    Promises: a connection whose request does not come in time is closed, so that slow senders hold
    none for ever.

    Args:
        app: the application.
        config: where it listens, and the limits.

    Raises:
        ConfigError: the address cannot be listened on, or the certificate cannot be read.
    """

    def __init__(self, app: Gate, config: WebConfig) -> None:
        self._app = app
        self._socket = _listen(config)
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(_uvicorn_config(app, config))
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="web", daemon=True
        )
        self._thread.start()
        _wait_started(self._server, self._thread)

    @property
    def is_alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Answer what was begun, ten seconds at most, and stop. Closing twice is fine."""
        self._server.should_exit = True
        self._app.end_streams()
        self._thread.join(2 * _STOP_S)
        self._socket.close()


def _listen(config: WebConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}"
        ) from error
    return listening


def _uvicorn_config(app: Gate, config: WebConfig) -> uvicorn.Config:
    options: dict[str, Any] = {
        "http": _protocol(config.request_timeout_s),
        "ws": "websockets-sansio",
        "ws_max_size": _MAX_MESSAGE_BYTES,
        "h11_max_incomplete_event_size": MAX_HEADER_BYTES,
        "limit_concurrency": config.max_connections,
        "timeout_keep_alive": int(config.request_timeout_s),
        "timeout_graceful_shutdown": _STOP_S,
        "access_log": False,  # the gate writes it
        "log_config": None,
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": False,
        "lifespan": "on",
    }
    if config.tls_cert is not None:
        options |= {"ssl_certfile": str(config.tls_cert), "ssl_keyfile": str(config.tls_key)}
    try:
        made = uvicorn.Config(app, **options)
        made.load()
    except OSError as error:
        raise ConfigError(f"the TLS certificate or its key cannot be used: {error}") from error
    return made


def _protocol(timeout_s: float) -> type[H11Protocol]:
    """uvicorn's protocol, which itself waits for the headers of a first request for ever."""

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._deadline = self.loop.call_later(timeout_s, self._give_up)

        def handle_events(self) -> None:
            super().handle_events()
            if self.cycle is not None and not self.cycle.response_complete:
                self._deadline.cancel()

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._deadline.cancel()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            self._await_request()  # first: the next request may have come already
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            super().connection_lost(exc)

        def _await_request(self) -> None:
            self._deadline.cancel()
            self._deadline = self.loop.call_later(timeout_s, self._give_up)

        def _give_up(self) -> None:
            if not self.transport.is_closing():
                self.transport.close()

    return Impatient


def _wait_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    began = threading.Event()
    for _ in range(int(_START_S / 0.02)):
        if server.started:
            return
        if not thread.is_alive():
            break
        began.wait(0.02)
    raise ConfigError("the web service has not started; the log above says why")
