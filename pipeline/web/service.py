"""What the routes work with: the client, the caller's rights, and threads for calls that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from maskstream.core.errors import RequestError, StoreError
from maskstream.pipeline.api.access import check_access
from maskstream.pipeline.client.answers import Answer
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.following import Following
from maskstream.pipeline.web.problems import HttpError
from maskstream.pipeline.web.tokens import Caller

P = ParamSpec("P")
R = TypeVar("R")

# Calls that wait for a session or the store, of all callers together.
_CALLS_AT_ONCE = 64


class Service:
    """The session API for callers that are known.

    Promises: a caller reaches the sessions of its own owner only, unless it is an administrator.

    Args:
        client: speaks to the store.
        config: the limits.
    """

    def __init__(self, client: Client, config: WebConfig) -> None:
        self.client = client
        self.config = config
        self.following = Following(client.store)
        self._limiter = CapacityLimiter(_CALLS_AT_ONCE)
        self._streams: Counter[str] = Counter()

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a call that waits in a thread."""
        return await to_thread.run_sync(
            partial(function, *args, **kwargs), limiter=self._limiter, abandon_on_cancel=True
        )

    async def ask(self, caller: Caller, request: Mapping[str, object]) -> Answer:
        """Answer a request of the session API.

        Raises:
            SessionNotFoundError: the session is another owner's, or there is none.
            MaskstreamError: see ``Client.handle_request``.
        """
        request = self._as_owner(caller, request)
        return await self.call(self._answer, caller, request)

    async def check(self, caller: Caller, session_id: str) -> None:
        """Check that the caller may use a session.

        Raises:
            SessionNotFoundError: it is another owner's, or there is none.
        """
        await self.call(self.check_now, caller, session_id)

    def check_now(self, caller: Caller, session_id: str) -> None:
        """``check`` for code that runs in a thread."""
        record = self.client.store.get_session(session_id)
        check_access(session_id, record.owner, None if caller.is_admin else caller.owner)

    @contextmanager
    def stream_of(self, caller: Caller) -> Iterator[None]:
        """Count a connection that follows results.

        Raises:
            HttpError: the caller has too many.
        """
        most = self.config.max_streams_per_owner
        if self._streams[caller.owner] >= most:
            raise HttpError(429, f"{caller.owner} follows {most} streams already; close one")
        self._streams[caller.owner] += 1
        try:
            yield
        finally:
            self._streams[caller.owner] -= 1
            self._streams += Counter()  # forgets those without streams

    def missing(self) -> list[str]:
        """What keeps the service from being ready, in sentences."""
        try:
            self.client.store.ping()
        except StoreError as error:
            return [str(error)]
        uploads = self.config.uploads
        if uploads is not None and not uploads.is_dir():
            return [f"the folder of uploads is gone: {uploads}"]
        return []

    def close(self) -> None:
        """End what follows sessions, and the client."""
        self.following.close()
        self.client.close()

    def _answer(self, caller: Caller, request: Mapping[str, object]) -> Answer:
        session_id = request.get("session_id")
        if isinstance(session_id, str) and request.get("type") != "start_session":
            self.check_now(caller, session_id)
        return self.client.handle_request(request)

    def _as_owner(self, caller: Caller, request: Mapping[str, object]) -> Mapping[str, object]:
        if request.get("type") not in ("start_session", "list_sessions"):
            return request
        given = request.get("owner")
        if caller.is_admin:
            is_start = request["type"] == "start_session"
            return {**request, "owner": caller.owner} if is_start and given is None else request
        if given is not None and given != caller.owner:
            raise RequestError([f"owner is {given!r:.80}, but this token is {caller.owner}'s"])
        return {**request, "owner": caller.owner}
