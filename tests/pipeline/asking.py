"""Requests as clients make them, wherever they are answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol


class Place(Protocol):
    """A predictor in this process, a runtime, or a client."""

    def handle_request(self, request: Any) -> dict[str, Any]: ...

    def handle_stream_request(self, request: Any) -> Iterator[dict[str, Any]]: ...


def start(place: Place, source: Path | str, **fields: Any) -> str:
    """Start a session; its id."""
    request = {"type": "start_session", "resource_path": str(source), **fields}
    session_id: str = place.handle_request(request)["session_id"]
    return session_id


def ask(place: Place, kind: str, session_id: str, **fields: Any) -> dict[str, Any]:
    """The answer to a request of a session."""
    return place.handle_request({"type": kind, "session_id": session_id, **fields})
