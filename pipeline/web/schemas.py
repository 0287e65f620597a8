"""The requests of the session API in the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from maskstream.pipeline.api.fields import RequestModel
from maskstream.pipeline.api.requests import Request

_RLE = {
    "type": "object",
    "description": "A mask as COCO's run-length code, of the whole frame.",
    "properties": {
        "size": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "counts": {"type": "string"},
    },
    "required": ["size", "counts"],
}
_ANY_JSON = {
    "mask": {"anyOf": [_RLE, {"type": "null"}]},
    "frame": {
        "anyOf": [{"type": "string", "contentEncoding": "base64"}, {"type": "null"}],
        "description": "A JPEG or PNG picture.",
    },
}


class _Schema(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave out defaults: a field that is absent is not the same as one that is null."""
        return self.generate_inner(schema["schema"])


def request_body(model: type[RequestModel], *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The description of a route's body: the model's fields without those that the path gives."""
    schema = model.model_json_schema(schema_generator=_Schema)
    _describe_arrays(schema)
    gone = {"type", *without}
    properties = {name: one for name, one in schema["properties"].items() if name not in gone}
    required = [name for name in schema.get("required", ()) if name not in gone]
    body = {**schema, "properties": properties, "required": required}
    if not required:
        del body["required"]
    return {"content": {"application/json": {"schema": body}}, "required": bool(required)}


def any_request_body() -> dict[str, Any]:
    """The description of a body that is any request of the session API."""
    schema = TypeAdapter(Request).json_schema(
        schema_generator=_Schema, ref_template="#/components/schemas/{model}"
    )
    for one in schema.get("$defs", {}).values():
        _describe_arrays(one)
    variants = list(schema.pop("$defs").values())
    return {"content": {"application/json": {"schema": {"oneOf": variants}}}, "required": True}


def _describe_arrays(schema: dict[str, Any]) -> None:
    for name, described in _ANY_JSON.items():
        if name in schema.get("properties", {}):
            schema["properties"][name] = described
