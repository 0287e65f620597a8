"""Errors as HTTP answers: the one place where the tree of errors meets status codes."""

from __future__ import annotations

from typing import Any

from maskstream.core.errors import (
    ArchiveError,
    IndexBusyError,
    InputError,
    MaskstreamError,
    NotIndexedError,
    OutputError,
    RequestError,
    SessionError,
    SessionLimitError,
    SessionNotFoundError,
    SourceError,
    StoreError,
)

# The first that fits decides, so a class comes before its base.
_STATUS: tuple[tuple[type[MaskstreamError], int], ...] = (
    (RequestError, 400),
    (InputError, 400),
    (SessionNotFoundError, 404),
    (SessionLimitError, 429),
    (SessionError, 409),
    (SourceError, 422),
    (NotIndexedError, 404),
    (IndexBusyError, 409),
    (ArchiveError, 409),
    (StoreError, 503),
    (OutputError, 507),
)


class HttpError(MaskstreamError):
    """A request that the web service itself refuses.

    Attributes:
        status: the HTTP status code.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if headers is None else headers


def status_of(error: MaskstreamError) -> int:
    """The HTTP status code of an error; 500 for what no caller can do anything about."""
    if isinstance(error, HttpError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(error: MaskstreamError, request_id: str | None = None) -> dict[str, Any]:
    """The body of the answer: what kind of error, what it says, and every fault of a request.

    Args:
        request_id: the name of the request, by which the log knows it.
    """
    body: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, RequestError):
        body["faults"] = list(error.faults)
    if request_id is not None:
        body["request_id"] = request_id
    return {"error": body}
