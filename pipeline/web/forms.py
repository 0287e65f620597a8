"""The session API as JSON: what arrays, masks and pictures look like on their way."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskstream.core.errors import RequestError
from maskstream.core.rle import encode_masks
from maskstream.pipeline.store.pictures import picture_key
from maskstream.pipeline.store.records import ResultEntry

MAX_JSON_DEPTH = 12


def parse_json(body: bytes) -> dict[str, Any]:
    """The request in a body.

    A ``frame`` is the base64 text of a JPEG or PNG picture, a ``mask`` a run-length code.

    Raises:
        RequestError: the body is no JSON object, is nested too deeply, or holds a frame that is no
            base64.
    """
    try:
        given = json.loads(body or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError([f"the body is not JSON: {error}"]) from None
    if not isinstance(given, dict):
        raise RequestError([f"the body is a JSON {type(given).__name__}; expected an object"])
    if _depth(given) > MAX_JSON_DEPTH:
        raise RequestError([f"the body is nested more than {MAX_JSON_DEPTH} levels deep"])
    if isinstance(given.get("frame"), str):
        try:
            given["frame"] = base64.b64decode(given["frame"], validate=True)
        except binascii.Error as error:
            raise RequestError([f"frame is not base64: {error}"]) from None
    return given


def to_json(value: Any) -> Any:
    """An answer of the session API as JSON values.

    (N, H, W) masks become run-length codes, other arrays lists, and NaN null.
    """
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray):
        if value.dtype == np.bool_ and value.ndim == 3:
            return [dict(rle) for rle in encode_masks(value)]
        return to_json(value.tolist())
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_bytes(value: Any) -> bytes:
    """JSON as it is sent."""
    text = json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def result_message(entry: ResultEntry, cursor: int) -> dict[str, Any]:
    """A result as streams and pages carry it.

    Args:
        entry: an entry of the kind ``frame``.
        cursor: where to read on after it.

    Returns:
        Times, epoch and cursor; ``picture``, the name of the frame's picture for viewers; and
        ``result``, as ``FrameResult.to_record`` gives it: masks are
        run-length codes.
    """
    return {
        "cursor": cursor,
        "frame_index": entry.frame_index,
        "epoch": entry.epoch,
        "wall_s": entry.wall_s,
        "gap_s": entry.gap_s,
        "picture": str(picture_key(entry.wall_s)),
        "result": entry.record,
    }


def _depth(value: Any) -> int:
    """How deeply JSON values are nested; counts no further than the limit."""
    level, depth = [value], 0
    while level and depth <= MAX_JSON_DEPTH:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        depth += 1
        level = inner
    return depth


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
