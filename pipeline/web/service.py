"""What the routes work with: the client, the caller's rights, and threads for calls that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from maskstream.core.errors import StoreError
from maskstream.pipeline.api.parsing import parse_single_request
from maskstream.pipeline.api.requests import ListSessions, Request, StartSession
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

    async def ask(self, caller: Caller, given: Mapping[str, object]) -> Answer:
        """Answer a request of the session API.

        Raises:
            RequestError: the request is malformed; every fault is named.
            SessionNotFoundError: the session is another owner's, or there is none.
            MaskstreamError: see ``Client.handle_request``.
        """
        request = parse_single_request(given)
        return await self.call(self._answer, caller, request)

    async def check(self, caller: Caller, session_id: str) -> None:
        """Check that the caller may use a session.

        Raises:
            SessionNotFoundError: it is another owner's, or there is none.
        """
        await self.call(self.client_of(caller).check_access, session_id)

    def client_of(self, caller: Caller) -> Client:
        """The client of a caller: for its own sessions, of an administrator for all."""
        return self.client.for_owner(None if caller.is_admin else caller.owner)

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

    def _answer(self, caller: Caller, request: Request) -> Answer:
        client = self.client_of(caller)
        if isinstance(request, StartSession):
            if "owner" not in request.model_fields_set:
                request = request.model_copy(update={"owner": caller.owner})
        elif caller.is_admin and not isinstance(request, ListSessions):
            client.check_access(request.session_id)  # for other callers the client does it
        return client.answer(request)
