"""HTTP as sources need it: our own connections, so that we decide whom FFmpeg talks to.

FFmpeg looks hosts up by itself, follows redirects by itself, and does not tell whether a body ended
or broke off. So it gets its bytes from here.
"""

from __future__ import annotations

import email.message
import http.client
import http.cookiejar
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from maskstream.core.errors import InputError
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.faults import LiveSourceError, network_fault
from maskstream.pipeline.live.hosts import connect
from maskstream.pipeline.live.http_body import HttpBody, range_of
from maskstream.pipeline.live.tls import tls_context
from maskstream.pipeline.live.url import SourceAddress

_MAX_REDIRECTS = 10


class HttpClient:
    """Fetches what one source consists of. Used by one thread.

    Redirects, cookies, user names and passwords (Basic, Digest) are dealt with here. Each
    connection goes to an address that the host filter admits. Without a filter the proxies of the
    environment are used, as by other programs.
    """

    def __init__(self, address: SourceAddress, config: LiveConfig) -> None:
        self._address = address
        self._config = config
        self._passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        self._socket: socket.socket | None = None
        self._deadline_s = 0.0
        self._bodies: list[HttpBody] = []
        self._opener = self._new_opener()

    def allow(self, seconds: float) -> None:
        """From now on, everything together may take so long."""
        self._deadline_s = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds that are left of that; 0 when none are."""
        return max(0.0, self._deadline_s - time.monotonic())

    def get(self, url: str, start: int = 0, end: int | None = None) -> HttpBody:
        """Fetch a URL, from byte ``start`` up to, not including, ``end``.

        Raises:
            LiveSourceError: it cannot be fetched, or its host may not be connected to.
        """
        try:
            body = HttpBody(self, self._respond(url, start, end), url, start)
        except (OSError, http.client.HTTPException, InputError, ValueError) as error:
            fault = network_fault(error, self._address)
        else:
            self._bodies = [one for one in self._bodies if not one.closed]
            self._bodies.append(body)
            return body
        # Raised after the except block: the error may hold the URL, and must not be its context.
        raise fault

    def respond_again(self, url: str, start: int) -> http.client.HTTPResponse:
        """The rest of a body, from byte ``start``.

        Raises:
            OSError, http.client.HTTPException, InputError: it cannot be fetched.
        """
        response = self._respond(url, start, None)
        if start and (response.status != 206 or range_of(response)[0] != start):
            response.close()
            raise http.client.HTTPException("the server cannot begin in the middle")
        return response

    def fault(self, error: Exception) -> LiveSourceError:
        """What an error of the network means."""
        return network_fault(error, self._address)

    def close(self) -> None:
        """Close all bodies."""
        for body in self._bodies:
            body.close()

    def _respond(self, url: str, start: int, end: int | None) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._without_login(url))
        last = "" if end is None else str(end - 1)
        request.add_header("Range", f"bytes={start}-{last}")
        request.add_header("User-Agent", "maskstream")
        # Headers that trickle in would wait for ever: each byte is in time.
        alarm = threading.Timer(max(0.01, self.left_s()), self._hang_up)
        alarm.daemon = True
        alarm.start()
        try:
            response: http.client.HTTPResponse = self._opener.open(
                request, timeout=min(self._config.read_timeout_s, max(0.01, self.left_s()))
            )
        except (OSError, http.client.HTTPException) as error:
            if self.left_s() == 0.0:
                raise TimeoutError from error
            raise
        finally:
            alarm.cancel()
        return response

    def _hang_up(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _without_login(self, url: str) -> str:
        """The URL without user and password, which are kept for its host."""
        parts = urlsplit(url)
        login, at, host = parts.netloc.rpartition("@")
        if at:
            user, _, password = login.partition(":")
            root = urlunsplit((parts.scheme, host, "/", "", ""))
            self._passwords.add_password(None, root, unquote(user), unquote(password))
        # As browsers do: a space, or a letter that is not of ASCII, is no reason to fail.
        path = quote(parts.path, safe="/%:;=@!$&'()*+,~")
        query = quote(parts.query, safe="/%:;=@!$&'()*+,~?[]")
        return urlunsplit((parts.scheme, host, path or "/", query, ""))

    def _new_opener(self) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        handlers: list[urllib.request.BaseHandler] = [
            _Redirects(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            urllib.request.HTTPBasicAuthHandler(self._passwords),
            urllib.request.HTTPDigestAuthHandler(self._passwords),
            urllib.request.UnknownHandler(),
            _Http(self._connect),
            _Https(self._connect, tls_context(self._config)),
        ]
        if self._config.hosts is None:
            handlers.append(urllib.request.ProxyHandler())
        for handler in handlers:
            opener.add_handler(handler)
        return opener

    def _connect(self, place: tuple[str, int], *args: object) -> socket.socket:
        """In the place of ``socket.create_connection``."""
        del args
        if self.left_s() == 0.0:
            raise TimeoutError
        timeout_s = min(self._config.open_timeout_s, self.left_s())
        self._socket = connect(*place, self._config.hosts, timeout_s)
        self._socket.settimeout(self._config.read_timeout_s)
        return self._socket


Connect = Callable[..., socket.socket]


class _Http(urllib.request.HTTPHandler):
    def __init__(self, connect_to: Connect) -> None:
        super().__init__()
        self._connect_to = connect_to

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._connect_to), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, connect_to: Connect, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._connect_to = connect_to
        self._tls = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        make = partial(_connection, http.client.HTTPSConnection, self._connect_to)
        return self.do_open(make, req, context=self._tls)


def _connection(
    kind: type[http.client.HTTPConnection], connect_to: Connect, host: str, **options: Any
) -> http.client.HTTPConnection:
    """A connection that reaches its host through us, also before TLS and to a proxy."""
    connection = kind(host, **options)
    connection._create_connection = connect_to  # type: ignore[attr-defined]
    return connection


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MAX_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: email.message.Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise InputError("it redirects to what is not HTTP")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
