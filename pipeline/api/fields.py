"""The types of the fields of requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from maskstream.core.rle import decode_mask
from maskstream.pipeline.api.prompts import MAX_BOXES, MAX_POINTS, Box, Point

SessionId = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")
]
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
    mask = np.asarray(value)
    if mask.ndim != 2 or mask.size == 0 or mask.dtype.kind not in "bui":
        raise ValueError(
            "a mask is a (H, W) array of true and false, or a run-length code with size and counts"
        )
    if mask.dtype.kind != "b" and not np.isin(mask, (0, 1)).all():
        raise ValueError("a mask of numbers holds 0 and 1 only")
    return mask.astype(np.bool_)


def _to_picture(value: Any) -> Any:
    if value is None or isinstance(value, bytes | np.ndarray | Image.Image):
        return value
    raise ValueError("a frame is a numpy array, a PIL image, or the bytes of a JPEG or PNG picture")


# JSON has no tuples: it gives lists.
PointField = Annotated[Point, Field(strict=False)]
BoxField = Annotated[Box, Field(strict=False)]
PointList = Annotated[list[PointField], Field(max_length=MAX_POINTS)]
BoxList = Annotated[list[BoxField], Field(max_length=MAX_BOXES)]
LabelList = Annotated[list[int], Field(max_length=max(MAX_POINTS, MAX_BOXES))]
Mask = Annotated[Any, BeforeValidator(_to_mask)]
PushedPicture = Annotated[Any, BeforeValidator(_to_picture)]

_MAX_DEPTH = 4

ARRAYS = frozenset({"mask", "frame"})
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
