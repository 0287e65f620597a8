"""The check of a request, which comes before anything is done.

A request with a fault is refused as a whole, and every fault is named: unknown keys (with what was
probably meant), missing fields, wrong types, values out of range, fields that exclude each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import ValidationError

from maskstream.core.errors import RequestError
from maskstream.pipeline.api.faults import bounded, sentence, shown, suggestion
from maskstream.pipeline.api.fields import ARRAYS, RequestModel, plain_value
from maskstream.pipeline.api.requests import Request, StreamRequest

_MODELS: dict[str, type[RequestModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(Request)
}
_MAX_KEYS = 100


def parse_request(request: Any) -> Request:
    """Check a request.

    Args:
        request: a mapping. Arrays of numpy or torch may stand for lists.

    Returns:
        One of the models of ``maskstream.pipeline.api.requests``.

    Raises:
        RequestError: the request is refused; ``faults`` names everything that is wrong.
    """
    if not isinstance(request, Mapping):
        raise RequestError([f"a request is a mapping with a type, not {type(request).__name__}"])
    kind = request.get("type")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise RequestError([_type_fault(request)])
    if len(request) > _MAX_KEYS:
        raise RequestError([f"the request has {len(request)} keys; at most {_MAX_KEYS} are read"])
    plain = {
        str(key): value if key in ARRAYS else plain_value(value) for key, value in request.items()
    }
    given = {key for key, value in plain.items() if value is not None}
    faults: list[str] = []
    try:
        parsed = model.model_validate(plain)
    except ValidationError as error:
        items = error.errors(include_url=False)
        faults += [sentence(item, model.model_fields) for item in items]
        bad = {item["loc"][0] for item in items}
        sound = {key: value for key, value in plain.items() if key not in bad}
        parsed = model.model_construct(None, **sound)
    faults += parsed.faults(given)
    if faults:
        raise RequestError(bounded(faults))
    return cast(Request, parsed)


def parse_single_request(request: Any) -> Request:
    """Check a request for ``handle_request``.

    Raises:
        RequestError: the request is refused, or its answer is a stream.
    """
    parsed = parse_request(request)
    if isinstance(parsed, StreamRequest):
        raise RequestError(
            [f"{parsed.type} answers with a stream; send it to handle_stream_request"]
        )
    return parsed


def parse_stream_request(request: Any) -> StreamRequest:
    """Check a request for ``handle_stream_request``.

    Raises:
        RequestError: the request is refused, or its answer is no stream.
    """
    parsed = parse_request(request)
    if not isinstance(parsed, StreamRequest):
        raise RequestError([f"{parsed.type} answers at once; send it to handle_request instead"])
    return parsed


def _type_fault(request: Mapping[Any, Any]) -> str:
    known = ", ".join(_MODELS)
    if "type" not in request:
        return f"type is missing; it must be one of {known}"
    kind = request["type"]
    hint = suggestion(kind, _MODELS) if isinstance(kind, str) else ""
    return f"unknown type {shown(kind)}{hint}; types are {known}"
