"""Results as they come: by Server-Sent Events, and by WebSocket for several sessions at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from maskstream.core.errors import InputError, MaskstreamError
from maskstream.pipeline.api.fields import Index, SessionId
from maskstream.pipeline.web.following import Event
from maskstream.pipeline.web.problems import HttpError, problem
from maskstream.pipeline.web.routes_sessions import SessionPath, caller_of
from maskstream.pipeline.web.service import Service
from maskstream.pipeline.web.tokens import Caller

_EVENTS = "text/event-stream"
_MAX_FOLLOWED = 32
_MAX_MESSAGE = 4096


class Follow(BaseModel):
    """What a WebSocket client sends: follow a session, or do not follow it any more."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["follow", "unfollow"]
    session_id: SessionId
    cursor: Index = Field(default=0)
    pictures: bool = False


def stream_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1")

    @router.get(
        "/sessions/{session_id}/events",
        response_class=Response,
        responses={200: {"content": {_EVENTS: {"schema": {"type": "string"}}}}},
    )
    async def events(
        session_id: SessionPath,
        request: Request,
        cursor: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
        pictures: bool = False,
        last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    ) -> Response:
        """Follow a session from a cursor on, as Server-Sent Events.

        Events are ``frame`` (its id is the cursor to go on from), ``missed``, ``session``, ``end``
        and ``error``. A browser that reconnects goes on behind the last frame it got.
        """
        caller = caller_of(request)
        await service.check(caller, session_id)
        events = service.following.events(
            session_id, _start(cursor, last_event_id), pictures=pictures
        )
        return _EventResponse(service, caller, events)

    @router.get(
        "/sessions/{session_id}/pictures/{picture}.jpg",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}},
    )
    async def picture(
        session_id: SessionPath,
        picture: Annotated[int, PathParameter(ge=0, lt=2**63)],
        request: Request,
    ) -> Response:
        """The picture of a frame, by the name that its result has; only the newest are kept.

        Frames have pictures while somebody follows the session with ``pictures=true``.
        """
        await service.check(caller_of(request), session_id)
        found = await service.call(service.client.store.pictures.get, session_id, picture)
        if found is None:
            raise HttpError(404, "there is no such picture, or not any more")
        return Response(found, media_type="image/jpeg")

    @router.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        """Follow any number of sessions: send ``{"action": "follow", "session_id": …}``."""
        caller: Caller = socket.state.caller
        with service.stream_of(caller):
            await socket.accept()
            await _Conversation(service, caller, socket).run()

    return router


class _EventResponse(Response):
    """Server-Sent Events of one session. What is wrong is raised before the answer begins."""

    def __init__(self, service: Service, caller: Caller, events: AsyncGenerator[Event]) -> None:
        super().__init__(media_type=_EVENTS)
        self._service = service
        self._caller = caller
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._service.stream_of(self._caller):
            async with aclosing(self._events) as events:
                first = await anext(events)
                answer = StreamingResponse(_lines(first, events), media_type=_EVENTS)
                await answer(scope, receive, send)


async def _lines(first: Event, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    yield _line(first)
    async for event in events:
        yield _line(event)


class _Conversation:
    """One WebSocket connection."""

    def __init__(self, service: Service, caller: Caller, socket: WebSocket) -> None:
        self._service = service
        self._caller = caller
        self._socket = socket
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Do what the client asks for until it goes."""
        try:
            while True:
                await self._take(await self._socket.receive_text())
        except (WebSocketDisconnect, KeyError):  # KeyError: it sent bytes
            pass
        finally:
            for task in self._followed.values():
                task.cancel()
            await asyncio.gather(*self._followed.values(), return_exceptions=True)

    async def _take(self, text: str) -> None:
        if len(text) > _MAX_MESSAGE:
            await self._fail(None, InputError(f"a message has at most {_MAX_MESSAGE} characters"))
            return
        try:
            wanted = Follow.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"])) or "the message"
            await self._fail(None, InputError(f"{place}: {fault['msg']}"))
            return
        session_id = wanted.session_id
        running = self._followed.pop(session_id, None)
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        if wanted.action == "unfollow":
            return
        if len(self._followed) >= _MAX_FOLLOWED:
            await self._fail(
                session_id, InputError(f"a connection follows at most {_MAX_FOLLOWED} sessions")
            )
            return
        self._followed[session_id] = asyncio.create_task(self._follow(wanted))

    async def _follow(self, wanted: Follow) -> None:
        session_id, following = wanted.session_id, self._service.following
        try:
            await self._service.check(self._caller, session_id)
            found = following.events(session_id, wanted.cursor, pictures=wanted.pictures)
            async with aclosing(found) as events:
                async for event in events:
                    await self._send(session_id, event)
        except MaskstreamError as error:
            await self._fail(session_id, error)
        except WebSocketDisconnect:
            return

    async def _send(self, session_id: str, event: Event) -> None:
        head = json.dumps({"kind": event.kind, "session_id": session_id, "cursor": event.cursor})
        # Waits while the client's buffers are full: a slow client slows nobody but itself.
        async with self._sending:
            await self._socket.send_text(f'{head[:-1]}, "data": {event.data.decode()}}}')

    async def _fail(self, session_id: str | None, error: MaskstreamError) -> None:
        data = problem(error)["error"]
        message = {"kind": "error", "session_id": session_id, "cursor": None, "data": data}
        async with self._sending:
            await self._socket.send_text(json.dumps(message, ensure_ascii=False))


def _start(cursor: int | None, last_event_id: str | None) -> int:
    """Where to begin. A reconnecting browser names the last event; it wins."""
    if last_event_id is not None and last_event_id.isdecimal() and last_event_id.isascii():
        return int(last_event_id)
    return 0 if cursor is None else cursor


def _line(event: Event) -> bytes:
    if event.kind == "heartbeat":
        return b": still here\n\n"
    identity = b"" if event.cursor is None else b"id: %d\n" % event.cursor
    return b"event: %s\n%sdata: %s\n\n" % (event.kind.encode(), identity, event.data)
