"""The base of all records, and the types of their fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Count = Annotated[int, Field(ge=0, lt=2**53)]
FrameIndex = Count
Seconds = Annotated[float, Field(strict=False, allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1, lt=2**40)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Record(BaseModel):
    """Base of all records: frozen, no unknown fields, no types taken for others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)
