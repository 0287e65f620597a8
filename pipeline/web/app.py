"""Puts the web service together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from maskstream.core.errors import MaskstreamError, RequestError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.forms import parse_json
from maskstream.pipeline.web.gate import COOKIE, Gate
from maskstream.pipeline.web.problems import HttpError, problem, status_of
from maskstream.pipeline.web.routes_sessions import answered, caller_of, session_routes
from maskstream.pipeline.web.routes_streams import stream_routes
from maskstream.pipeline.web.service import Service
from maskstream.pipeline.web.tokens import Tokens
from maskstream.pipeline.web.uploads import Uploads

_LOG = logging.getLogger("maskstream.web")

STATIC = Path(__file__).parent / "static"
_COOKIE_S = 12 * 3600
_LOGIN = {
    "type": "object",
    "properties": {"token": {"type": "string"}},
    "required": ["token"],
}
_FILE = {"type": "string", "format": "binary"}


def build_app(client: Client, config: WebConfig) -> Gate:
    """Build the service as an ASGI application.

    Args:
        client: speaks to the store; the application closes it.
        config: how it is reached, and the limits.

    Raises:
        ConfigError: the file of tokens cannot be read.
    """
    tokens = Tokens(config.tokens_file, config.admin_token)
    service = Service(client, config)
    uploads = Uploads(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="maskstream",
        description="Finds what words, clicks and boxes describe in video, and follows it.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    for kind in (MaskstreamError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)
    app.include_router(session_routes(service))
    app.include_router(stream_routes(service))

    @app.get("/healthz")
    async def healthz() -> Response:
        """Say that the process lives."""
        return answered({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        """Whether the service can do its work; if not, what is missing."""
        missing = await service.call(service.missing)
        return answered({"is_ready": not missing, "missing": missing}, 503 if missing else 200)

    @app.post("/v1/login", openapi_extra={"requestBody": _body("application/json", _LOGIN)})
    async def login(request: Request) -> Response:
        """Exchange a token for a cookie that scripts cannot read."""
        given = parse_json(await request.body())
        token = given.get("token")
        caller = tokens.caller(token) if isinstance(token, str) else None
        if caller is None:
            raise HttpError(401, "this token is not known")
        answer = answered({"owner": caller.owner, "is_admin": caller.is_admin})
        answer.set_cookie(
            COOKIE,
            str(token),
            max_age=_COOKIE_S,
            httponly=True,
            samesite="strict",
            secure=config.tls_cert is not None,
        )
        return answer

    @app.post("/v1/logout")
    async def logout() -> Response:
        """Forget the cookie."""
        answer = answered({"is_success": True})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    @app.get("/v1/me")
    async def me(request: Request) -> Response:
        """Who the caller is, and what the service offers."""
        caller = caller_of(request)
        return answered(
            {
                "owner": caller.owner,
                "is_admin": caller.is_admin,
                "takes_uploads": config.uploads is not None,
                "needs_login": config.has_callers,
            }
        )

    @app.put(
        "/v1/uploads/{name}",
        status_code=201,
        openapi_extra={"requestBody": _body("application/octet-stream", _FILE)},
    )
    async def upload(
        name: Annotated[str, PathParameter(min_length=1, max_length=300)], request: Request
    ) -> Response:
        """Upload a file; ``start_session`` takes the ``resource_path`` of the answer."""
        announced = request.headers.get("content-length", "")
        path = await uploads.write(
            caller_of(request).owner,
            name,
            int(announced) if announced.isdecimal() else None,
            request.stream(),
        )
        return answered({"resource_path": str(path)}, 201)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    return Gate(app, config, tokens, service.following.close)


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The description of a body that must be there."""
    return {"content": {media_type: {"schema": schema}}, "required": True}


async def _answer_error(request: HTTPConnection, error: Exception) -> Response:
    """Every error as an answer."""
    shown = _as_ours(error)
    if isinstance(request, WebSocket):
        await request.close(1008, str(shown)[:100])
        return Response()
    if shown is not error and status_of(shown) == 500:
        _LOG.error("request %s: an error of the program", request.state.request_id, exc_info=error)
    answer = answered(problem(shown, request.state.request_id), status_of(shown))
    if isinstance(shown, HttpError):
        answer.headers.update(shown.headers)
    return answer


def _as_ours(error: Exception) -> MaskstreamError:
    """An error of the framework or of the program as one of our tree."""
    match error:
        case MaskstreamError():
            return error
        case RequestValidationError():
            return RequestError([_fault(item) for item in error.errors()[:30]])
        case HTTPException():
            return HttpError(error.status_code, error.detail, dict(error.headers or {}))
    return HttpError(500, "an error of the program; its log has more under the request_id")


def _fault(item: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}"
