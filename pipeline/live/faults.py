"""FFmpeg's errors as faults: each of a kind, with a message that holds no credentials."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.error

import av

from maskstream.core.errors import SourceError
from maskstream.pipeline.live.frames import Fault, FaultKind
from maskstream.pipeline.live.hosts import HostRefusedError
from maskstream.pipeline.live.url import SourceAddress

# The first class that matches counts, since av's classes derive from each other.
_KINDS: tuple[tuple[type[av.FFmpegError], FaultKind, str], ...] = (
    (av.HTTPUnauthorizedError, FaultKind.UNAUTHORIZED, "wrong or missing user name or password"),
    (av.HTTPForbiddenError, FaultKind.UNAUTHORIZED, "access is forbidden to these credentials"),
    (av.HTTPNotFoundError, FaultKind.NOT_FOUND, "the server knows no such path"),
    (av.HTTPClientError, FaultKind.REJECTED, "the server rejects the request"),
    (av.HTTPError, FaultKind.REJECTED, "the server fails"),
    (av.ConnectionRefusedError, FaultKind.REFUSED, "nobody listens there"),
    (av.TimeoutError, FaultKind.TIMED_OUT, "no answer in time"),
    (av.ExitError, FaultKind.TIMED_OUT, "no answer in time"),
    (av.FileNotFoundError, FaultKind.NOT_FOUND, "it does not exist"),
    (av.ProtocolNotFoundError, FaultKind.UNSUPPORTED, "this FFmpeg cannot speak the protocol"),
    (av.DemuxerNotFoundError, FaultKind.UNSUPPORTED, "this FFmpeg cannot read the format"),
    (av.DecoderNotFoundError, FaultKind.UNSUPPORTED, "this FFmpeg has no decoder for it"),
    (av.InvalidDataError, FaultKind.INVALID, "what comes from there is not video"),
    (av.EOFError, FaultKind.DISCONNECTED, "the other side ended the connection"),
    (av.OSError, FaultKind.UNREACHABLE, "no such host, or no way to it"),
)


_NETWORK_KINDS: tuple[tuple[type[Exception], FaultKind, str], ...] = (
    (ConnectionRefusedError, FaultKind.REFUSED, "nobody listens there"),
    (TimeoutError, FaultKind.TIMED_OUT, "no answer in time"),
    (ssl.SSLCertVerificationError, FaultKind.UNREACHABLE, "its certificate is not trusted"),
    (ssl.SSLError, FaultKind.UNREACHABLE, "no secure connection can be made"),
    (socket.gaierror, FaultKind.UNREACHABLE, "no such host, or no way to it"),
    (ConnectionError, FaultKind.DISCONNECTED, "the other side ended the connection"),
    (http.client.IncompleteRead, FaultKind.DISCONNECTED, "the other side ended the connection"),
    (OSError, FaultKind.UNREACHABLE, "no such host, or no way to it"),
    (http.client.HTTPException, FaultKind.INVALID, "what comes from there is not HTTP"),
)
_HTTP_KINDS = {
    401: (FaultKind.UNAUTHORIZED, "wrong or missing user name or password"),
    403: (FaultKind.UNAUTHORIZED, "access is forbidden to these credentials"),
    404: (FaultKind.NOT_FOUND, "the server knows no such path"),
    410: (FaultKind.NOT_FOUND, "the server knows no such path"),
}


class LiveSourceError(SourceError):
    """A connection could not be made, or was lost. A source that raises it has failed for good.

    Attributes:
        fault: its kind, its message without credentials, and its time.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.message} ({fault.kind})")
        self.fault = fault

    def __reduce__(self) -> tuple[type[LiveSourceError], tuple[Fault]]:
        """Keep the fault when the error goes to another process."""
        return LiveSourceError, (self.fault,)

    @classmethod
    def of(cls, kind: FaultKind, address: SourceAddress, what: str) -> LiveSourceError:
        """The error for a fault that happens now."""
        what = address.scrub(what)
        message = what if what.startswith(str(address)) else f"{address}: {what}"
        return cls(Fault(kind, message, time.time()))


def opening_fault(
    error: av.FFmpegError | OSError | ValueError,
    address: SourceAddress,
    elapsed_s: float,
    timeout_s: float,
) -> LiveSourceError:
    """Why a connection could not be opened.

    FFmpeg calls it invalid data, too, when a server accepts and never answers. What differs is the
    time that it took.
    """
    if isinstance(error, av.InvalidDataError) and elapsed_s >= 0.9 * timeout_s:
        what = f"no answer within {timeout_s:g} s"
        return LiveSourceError.of(FaultKind.TIMED_OUT, address, what)
    if isinstance(error, av.FFmpegError):
        return _fault(error, address)
    return network_fault(error, address)


def network_fault(error: Exception, address: SourceAddress) -> LiveSourceError:
    """Why a connection of ours failed, or a request by HTTP."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        code, fails = error.code, "rejects the request" if error.code < 500 else "fails"
        default = (FaultKind.REJECTED, f"the server {fails} ({code})")
        kind, what = _HTTP_KINDS.get(code, default)
        return LiveSourceError.of(kind, address, what)
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return network_fault(error.reason, address)
    if isinstance(error, HostRefusedError):
        return LiveSourceError.of(FaultKind.FORBIDDEN, address, str(error))
    for cls, kind, what in _NETWORK_KINDS:
        if isinstance(error, cls):
            return LiveSourceError.of(kind, address, what)
    return LiveSourceError.of(FaultKind.INVALID, address, str(error) or type(error).__name__)


def reading_fault(error: av.FFmpegError, address: SourceAddress) -> LiveSourceError:
    """Why a running connection was lost."""
    if isinstance(error, av.ExitError | av.TimeoutError):
        return LiveSourceError.of(FaultKind.TIMED_OUT, address, "no packet in time")
    return LiveSourceError.of(FaultKind.DISCONNECTED, address, _words(error))


def _fault(error: av.FFmpegError | OSError | ValueError, address: SourceAddress) -> LiveSourceError:
    for cls, kind, what in _KINDS:
        if isinstance(error, cls):
            return LiveSourceError.of(kind, address, what)
    if isinstance(error, av.FFmpegError) and error.errno is not None and 0 < error.errno < 200:
        return LiveSourceError.of(FaultKind.UNREACHABLE, address, _words(error))
    return LiveSourceError.of(FaultKind.INVALID, address, _words(error))


def _words(error: av.FFmpegError | OSError | ValueError) -> str:
    """FFmpeg's words for an error. ``str(error)`` would end with the URL."""
    words = getattr(error, "strerror", None)
    return words if isinstance(words, str) and words else type(error).__name__
