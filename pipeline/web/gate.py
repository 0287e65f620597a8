"""The gate of the service: every request passes it before anything else sees it.

It names the request, finds out who calls, refuses callers from other sites, limits how often and
how much is sent, sets the security headers, and writes a line to the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskstream.core.redaction import redact
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.problems import HttpError, problem
from maskstream.pipeline.web.rates import RequestRates
from maskstream.pipeline.web.tokens import Caller, Tokens

_LOG = logging.getLogger("maskstream.web")

COOKIE = "maskstream_token"
MAX_HEADER_BYTES = 32 * 2**10
UPLOADS = "/v1/uploads/"
_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/v1/login", "/"})
_STATIC = "/static/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class Gate:
    """The outermost ASGI application.

    Promises: no request reaches ``app`` without a caller in ``scope["state"]["caller"]``, except
    for the paths that need none.

    Args:
        app: what is behind the gate.
        config: the limits.
        tokens: who may pass.
        end_streams: ends what follows results, so that the server can stop.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: WebConfig,
        tokens: Tokens,
        end_streams: Callable[[], None] = lambda: None,
    ) -> None:
        self.end_streams = end_streams
        self._app = app
        self._config = config
        self._tokens = tokens
        self._rates = RequestRates(config.requests_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        passage = _Passage(scope, send, is_tls=self._config.tls_cert is not None)
        try:
            self._let_in(passage, scope)
            guarded = receive
            if scope["type"] == "http" and not scope["path"].startswith(UPLOADS):
                guarded = _limited(receive, self._config)
            await self._app(scope, guarded, passage.send)
        except HttpError as error:
            await passage.refuse(error)
        finally:
            passage.write_log()

    def _let_in(self, passage: _Passage, scope: Scope) -> None:
        """Find out who calls.

        Raises:
            HttpError: the request may not pass.
        """
        connection = HTTPConnection(scope)
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            raise HttpError(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")
        self._check_host(connection)
        is_open = scope["path"] in _OPEN_PATHS or scope["path"].startswith(_STATIC)
        is_write = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if is_write:
            self._check_origin(connection)
        caller = None if is_open else self._caller(connection)
        passage.caller = caller
        scope.setdefault("state", {})["caller"] = caller
        scope["state"]["request_id"] = passage.request_id
        who = caller.owner if caller is not None else _address_of(scope)
        wait_s = self._rates.wait_s(who)
        if wait_s > 0:
            raise HttpError(
                429,
                f"more than {self._config.requests_per_s:g} requests a second; wait {wait_s:.1f} s",
                {"retry-after": str(int(wait_s) + 1)},
            )

    def _check_host(self, connection: HTTPConnection) -> None:
        if self._config.has_callers:
            return
        name = _without_port(connection.headers.get("host", ""))
        if name not in _LOCAL_NAMES:  # a page of another site, under a name that leads here
            raise HttpError(
                421,
                f"this service answers to localhost without a token, not to {name!r:.80}; give it "
                "a token to be reached by another name",
            )

    def _check_origin(self, connection: HTTPConnection) -> None:
        origin = connection.headers.get("origin")
        if origin is None:  # not sent by a browser's page
            return
        if urlsplit(origin).netloc != connection.headers.get("host"):
            raise HttpError(403, f"pages of {origin!r:.200} may not call this service")

    def _caller(self, connection: HTTPConnection) -> Caller:
        if not self._config.has_callers:
            return Caller("local", is_admin=True)
        header = self._config.trusted_owner_header
        if header is not None and (owner := connection.headers.get(header)):
            return Caller(owner[:128])
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        token = given.strip() if scheme.lower() == "bearer" else connection.cookies.get(COOKIE, "")
        caller = self._tokens.caller(token) if token else None
        if caller is None:
            raise HttpError(
                401,
                "this token is not known"
                if token
                else "no token: send it as Authorization: Bearer …, or log in on the page",
                {"www-authenticate": "Bearer"},
            )
        return caller


class _Passage:
    """One request on its way through the gate."""

    def __init__(self, scope: Scope, send: Send, *, is_tls: bool) -> None:
        self._scope = scope
        self._send = send
        self._is_tls = is_tls
        self._started_s = time.monotonic()
        self._status = 0
        self.caller: Caller | None = None
        given = HTTPConnection(scope).headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)

    async def send(self, message: Message) -> None:
        """Send on, with our headers."""
        if message["type"] in ("http.response.start", "websocket.accept"):
            self._status = message.get("status", 101)
            message["headers"] = [*message.get("headers", ()), *self._headers(message)]
        await self._send(message)

    async def refuse(self, error: HttpError) -> None:
        """Answer with an error instead of going on."""
        if self._status:
            return  # the answer has begun; it just ends
        self._status = error.status
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})
            return
        answer = Response(
            json.dumps(problem(error, self.request_id)),
            error.status,
            error.headers,
            media_type="application/json",
        )
        await self.send(
            {"type": "http.response.start", "status": error.status, "headers": answer.raw_headers}
        )
        await self.send({"type": "http.response.body", "body": answer.body})

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in message.get("headers", ())}
        headers = dict(SECURITY_HEADERS) | {"x-request-id": self.request_id}
        if self._is_tls:
            headers["strict-transport-security"] = "max-age=31536000"
        if not self._scope["path"].startswith(_STATIC):
            headers["cache-control"] = "no-store"
        return [
            (name.encode(), value.encode())
            for name, value in headers.items()
            if name.encode() not in given
        ]

    def write_log(self) -> None:
        """A line of JSON; it holds no query, since one may hold an address with a password."""
        line = {
            "request_id": self.request_id,
            "from": _address_of(self._scope),
            "owner": None if self.caller is None else self.caller.owner,
            "method": self._scope.get("method", "WEBSOCKET"),
            "path": redact(self._scope["path"][:300]),
            "status": self._status,
            "ms": round((time.monotonic() - self._started_s) * 1000, 1),
        }
        _LOG.info("%s", json.dumps(line, ensure_ascii=False))


def _limited(receive: Receive, config: WebConfig) -> Receive:
    """``receive`` that refuses large bodies and slow senders."""
    received = 0
    is_whole = False

    async def limited() -> Message:
        nonlocal received, is_whole
        if is_whole:  # what comes now is that the caller has gone
            return await receive()
        try:
            async with asyncio.timeout(config.request_timeout_s):
                message = await receive()
        except TimeoutError:
            raise HttpError(
                408, f"nothing of the request's body came for {config.request_timeout_s:g} s"
            ) from None
        received += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if received > config.max_body_bytes:
            raise HttpError(413, f"the request's body is larger than {config.max_body_bytes} bytes")
        return message

    return limited


def _without_port(host: str) -> str:
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _address_of(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"
