"""What a runtime says when an entry of the journal is settled, and when a run is over.

They travel as JSON: in ``Outcome.detail``, and as the record of a result entry of kind ``end``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from maskstream.pipeline.api.fields import Index


class Detail(BaseModel):
    """Base of what outcomes and ends of runs say; fields that are not known here are passed over,
    since a newer runtime may say more.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    def to_detail(self) -> dict[str, Any]:
        """JSON values for ``Outcome.detail`` or ``ResultEntry.record``."""
        return self.model_dump(mode="json")


class PromptDetail(Detail):
    """Of ``add_concept`` and ``add_object``.

    Attributes:
        prompt_id: of the concept.
        obj_id: of the object.
        record: ``FrameResult.to_record`` of the prompted frame; None when the session runs by
            itself: then the log of results has it.
    """

    prompt_id: int | None = None
    obj_id: int | None = None
    record: dict[str, Any] | None = None


class SuccessDetail(Detail):
    """Of ``remove_prompt``, ``remove_object``, ``cancel``, ``pause``, ``resume``: whether there
    was something to remove, stop or resume.
    """

    is_success: bool = True


class PropagateDetail(Detail):
    """Of ``propagate``.

    Attributes:
        cursor: of the log of results; this run's entries follow behind it.
        epochs: the first and the last that they carry, one for each direction.
    """

    cursor: Index
    epochs: Annotated[tuple[Index, Index], Field(strict=False)]


class RunEnd(Detail):
    """The record of a result entry of kind ``end``: a run is over.

    Attributes:
        message: why it failed, as ``maskstream.core.error_text`` writes it; empty otherwise.
        epoch: the last one of the run.
    """

    reason: Literal["finished", "cancelled", "failed"]
    message: str = ""
    epoch: Index = 0
