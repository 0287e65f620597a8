"""The types of the fields of requests."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticKnownError

from maskstream.core.limits import MAX_PIXELS
from maskstream.core.rle import decode_mask
from maskstream.pipeline.api.prompts import MAX_BOXES, MAX_POINTS, Box, Point

SessionId = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")
]
MAX_RESOURCE_LENGTH = 4096
Owner = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Index = Annotated[int, Field(ge=0, lt=2**53)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Direction = Literal["both", "forward", "backward"]


def _to_mask(value: Any) -> NDArray[np.bool_] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return decode_mask(value)
    num_pixels = _declared_pixels(value)
    if num_pixels > MAX_PIXELS:
        raise ValueError(f"a mask of {num_pixels:,} pixels; at most {MAX_PIXELS:,} are possible")
    mask = np.asarray(value)
    if mask.ndim != 2 or mask.size == 0 or mask.dtype.kind not in "bui":
        raise ValueError(
            "a mask is a (H, W) array of true and false, or a run-length code with size and counts"
        )
    if mask.dtype.kind != "b" and not np.isin(mask, (0, 1)).all():
        raise ValueError("a mask of numbers holds 0 and 1 only")
    return mask.astype(np.bool_)


@dataclass(frozen=True, eq=False)
class PicturesInMemory:
    """Pictures as the source of a session in this process: PIL images, or arrays (H, W, 3)."""

    pictures: Sequence[Any]

    def __repr__(self) -> str:
        return f"{len(self.pictures)} pictures in memory"


def _to_resource(value: Any) -> str | PicturesInMemory:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        if not value:
            raise PydanticKnownError("string_too_short", {"min_length": 1})
        if len(value) > MAX_RESOURCE_LENGTH:
            raise PydanticKnownError("string_too_long", {"max_length": MAX_RESOURCE_LENGTH})
        return value
    pictures = value
    if isinstance(value, Image.Image) or getattr(value, "ndim", 0) in (2, 3):
        pictures = [value]
    if not isinstance(pictures, list | tuple) and getattr(pictures, "ndim", 0) != 4:
        raise ValueError("a source is a path, a URL, or a list of PIL images or arrays")
    pictures = [_as_array(one) for one in pictures]
    if not pictures or not all(isinstance(one, np.ndarray | Image.Image) for one in pictures):
        raise ValueError("a source in memory is a list of PIL images or arrays, at least one")
    return PicturesInMemory(pictures)


def _as_array(value: Any) -> Any:
    """A tensor of torch as numpy's array; anything else as it is."""
    is_tensor = hasattr(value, "__array__") and hasattr(value, "detach")
    return value.detach().cpu().numpy() if is_tensor else value


def _to_texts(value: Any) -> str | list[str] | None:
    texts = [value] if isinstance(value, str) else value
    if value is not None and not (
        isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    ):
        raise ValueError("a text, or a list of texts")
    return cast(str | list[str] | None, value)


def _to_label(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _declared_pixels(mask: Any) -> int:
    """Height × width by the shape of an array, or by the lengths of a list and of its first row."""
    shape = getattr(mask, "shape", None)
    if shape is not None:
        return prod(shape)
    if isinstance(mask, list | tuple) and mask and isinstance(mask[0], list | tuple):
        return len(mask) * len(mask[0])
    return 0


def _to_picture(value: Any) -> Any:
    if value is None or isinstance(value, bytes | np.ndarray | Image.Image):
        return value
    raise ValueError("a frame is a numpy array, a PIL image, or the bytes of a JPEG or PNG picture")


# JSON has no tuples: it gives lists.
PointField = Annotated[Point, Field(strict=False)]
BoxField = Annotated[Box, Field(strict=False)]
PointList = Annotated[list[PointField], Field(max_length=MAX_POINTS)]
BoxList = Annotated[list[BoxField], Field(max_length=MAX_BOXES)]
Label = Annotated[int, BeforeValidator(_to_label)]
LabelList = Annotated[list[Label], Field(max_length=max(MAX_POINTS, MAX_BOXES))]
Texts = Annotated[Any, BeforeValidator(_to_texts)]
Resource = Annotated[Any, BeforeValidator(_to_resource)]
Mask = Annotated[Any, BeforeValidator(_to_mask)]
PushedPicture = Annotated[Any, BeforeValidator(_to_picture)]

_MAX_DEPTH = 4

ARRAYS = frozenset({"mask", "frame", "resource_path"})
"""The fields that take arrays. In all other fields arrays become lists."""


class RequestModel(BaseModel):
    """Base of all requests. They refuse unknown fields and convert no types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def faults(self, given: Collection[str]) -> list[str]:
        """What is wrong with the fields taken together.

        Args:
            given: the names of all fields that the sender has given. A malformed one is among
                them, although this model lacks it.
        """
        return []


def plain_value(value: Any, depth: int = 0) -> Any:
    """Arrays and scalars of numpy or torch as lists and numbers; anything else as it is."""
    if isinstance(value, list | tuple):
        # No field is nested deeper. A deeper value is left as it is, and refused later.
        return value if depth > _MAX_DEPTH else [plain_value(item, depth + 1) for item in value]
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) and not isinstance(value, type) else value
