"""Sessions, prompts and objects as resources, and the session API as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from maskstream.pipeline.api.parsing import parse_request, parse_stream_request
from maskstream.pipeline.api.requests import (
    AddPrompt,
    PropagateInVideo,
    StartSession,
    StreamRequest,
)
from maskstream.pipeline.web.forms import parse_json, result_message, to_bytes
from maskstream.pipeline.web.schemas import any_request_body, request_body
from maskstream.pipeline.web.service import Service
from maskstream.pipeline.web.tokens import Caller

_JSON = "application/json"
_LINES = "application/x-ndjson"
_LONGEST_WAIT_S = 20.0

SessionPath = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")]
IdPath = Annotated[int, Path(ge=0, lt=2**53)]


def caller_of(request: Request) -> Caller:
    """Who makes the request; the gate has found out."""
    caller: Caller = request.state.caller
    return caller


def answered(answer: Any, status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(to_bytes(answer), status, media_type=_JSON)


def session_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1")

    @router.post("/requests", openapi_extra={"requestBody": any_request_body()})
    async def requests(request: Request) -> Response:
        """Send a request of the session API as it is.

        A request whose answer is a stream is answered by lines of JSON, one for each frame.
        """
        given = parse_json(await request.body())
        caller = caller_of(request)
        if given.get("type") in ("propagate_in_video", "stream_results"):
            return await _streamed(service, caller, parse_stream_request(given))
        return answered(await service.ask(caller, given))

    @router.post(
        "/sessions", status_code=201, openapi_extra={"requestBody": request_body(StartSession)}
    )
    async def start_session(request: Request) -> Response:
        """Start a session on a file, a camera, a stream, or frames that the caller pushes."""
        return answered(await _ask(service, request, "start_session"), 201)

    @router.get("/sessions")
    async def list_sessions(request: Request) -> Response:
        """The caller's sessions, the oldest first; for an administrator everybody's."""
        return answered(await service.ask(caller_of(request), {"type": "list_sessions"}))

    @router.get("/sessions/{session_id}")
    async def get_session(session_id: SessionPath, request: Request) -> Response:
        """What a session is doing: its state, where its frames went, rates and latencies."""
        return answered(await _ask_of(service, request, "get_session", session_id))

    @router.delete("/sessions/{session_id}")
    async def close_session(session_id: SessionPath, request: Request) -> Response:
        """End a session and free what it holds."""
        return answered(await _ask_of(service, request, "close_session", session_id))

    @router.post(
        "/sessions/{session_id}/prompts",
        openapi_extra={"requestBody": request_body(AddPrompt, without=("session_id",))},
    )
    async def add_prompt(session_id: SessionPath, request: Request) -> Response:
        """Add a concept (words, boxes) or show one object (points, a box, a mask)."""
        return answered(await _ask(service, request, "add_prompt", session_id))

    @router.delete("/sessions/{session_id}/prompts/{prompt_id}")
    async def remove_prompt(
        session_id: SessionPath, prompt_id: IdPath, request: Request
    ) -> Response:
        """Stop looking for a concept, and drop its objects."""
        answer = await _ask_of(service, request, "remove_prompt", session_id, prompt_id=prompt_id)
        return answered(answer)

    @router.delete("/sessions/{session_id}/objects/{obj_id}")
    async def remove_object(session_id: SessionPath, obj_id: IdPath, request: Request) -> Response:
        """Drop one object."""
        answer = await _ask_of(service, request, "remove_object", session_id, obj_id=obj_id)
        return answered(answer)

    @router.post(
        "/sessions/{session_id}/propagate",
        openapi_extra={"requestBody": request_body(PropagateInVideo, without=("session_id",))},
    )
    async def propagate(session_id: SessionPath, request: Request) -> Response:
        """Have a session step over its video. Its results come to those who follow the session.

        The answer has the cursor before the first of them, and their first and last epoch.
        """
        given = parse_json(await request.body())
        parsed = parse_request({**given, "type": "propagate_in_video", "session_id": session_id})
        caller = caller_of(request)
        await service.check(caller, session_id)
        propagate = service.client_of(caller).propagate
        run = await service.call(propagate, cast(PropagateInVideo, parsed))
        return answered({"cursor": run.cursor, "epochs": run.epochs})

    for name, kind, what in (
        ("cancel", "cancel_propagation", "Stop a propagation before its next frame."),
        ("pause", "pause_session", "Take no more frames until the session is resumed."),
        ("resume", "resume_session", "Go on after a pause."),
        ("reset", "reset_session", "Forget all prompts and objects; keep the source."),
    ):
        _add_control(router, service, name, kind, what)

    @router.get("/sessions/{session_id}/results")
    async def get_results(
        session_id: SessionPath,
        request: Request,
        cursor: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        max_results: Annotated[int, Query(ge=1, le=1000)] = 64,
        timeout_s: Annotated[float, Query(ge=0, le=_LONGEST_WAIT_S)] = 0.0,
    ) -> Response:
        """A page of results behind a cursor; 0 stands before the first."""
        await service.check(caller_of(request), session_id)
        page = await service.call(
            service.client.store.read_results,
            session_id,
            cursor,
            count=max_results,
            timeout_s=timeout_s,
        )
        first = page.cursor - len(page.entries) + 1
        messages = [
            result_message(entry, behind)
            for behind, entry in enumerate(page.entries, first)
            if entry.kind == "frame"
        ]
        return answered(
            {
                "results": messages,
                "cursor": page.cursor,
                "num_missed": page.num_missed,
                "is_end": page.is_end,
            }
        )

    @router.post("/sessions/{session_id}/frames")
    async def push_frame(
        session_id: SessionPath,
        request: Request,
        pts_s: Annotated[float | None, Query(allow_inf_nan=False)] = None,
        is_last: bool = False,
    ) -> Response:
        """Push the next frame: the body is a JPEG or PNG picture."""
        body = await request.body()
        given: dict[str, object] = {"type": "push_frame", "session_id": session_id}
        given |= {"is_last": is_last, "pts_s": pts_s, "frame": body or None}
        return answered(await service.ask(caller_of(request), given))

    return router


def _add_control(router: APIRouter, service: Service, name: str, kind: str, what: str) -> None:
    async def control(session_id: SessionPath, request: Request) -> Response:
        return answered(await _ask_of(service, request, kind, session_id))

    router.add_api_route(
        f"/sessions/{{session_id}}/{name}",
        control,
        methods=["POST"],
        name=kind,
        description=what,
        operation_id=kind,
    )


async def _ask(service: Service, request: Request, kind: str, session_id: str | None = None) -> Any:
    """Answer a request whose fields are in the body."""
    given = {**parse_json(await request.body()), "type": kind}
    if session_id is not None:
        given["session_id"] = session_id
    return await service.ask(caller_of(request), given)


async def _ask_of(
    service: Service, request: Request, kind: str, session_id: str, **fields: Any
) -> Any:
    """Answer a request whose fields are all in the path."""
    given = {"type": kind, "session_id": session_id, **fields}
    return await service.ask(caller_of(request), given)


async def _streamed(service: Service, caller: Caller, parsed: StreamRequest) -> Response:
    await service.check(caller, parsed.session_id)
    entries = await service.call(service.client_of(caller).stream, parsed)

    def lines() -> Iterator[bytes]:
        for answer in entries:
            yield to_bytes(answer) + b"\n"

    return StreamingResponse(lines(), media_type=_LINES)
