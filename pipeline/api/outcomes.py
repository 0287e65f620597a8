"""What a runtime says when an entry of the journal is settled, and when a run is over.

They travel as JSON: in ``Outcome.detail``, and as the record of a result entry of kind ``end``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from maskstream.pipeline.api.fields import Index


class Detail(BaseModel):
    """Base of these records. Unknown fields are ignored, because a newer runtime may send more."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    def to_detail(self) -> dict[str, Any]:
        """JSON values for ``Outcome.detail`` or ``ResultEntry.record``."""
        return self.model_dump(mode="json")


class PromptDetail(Detail):
    """What ``add_concept`` and ``add_object`` have done.

    Attributes:
        prompt_ids: the ids of the concepts, one for each text.
        prompt_id: the first of them.
        obj_id: the id of the object.
        record: ``FrameResult.to_record`` of the prompted frame; None in a session that runs by
            itself, whose log of results has that frame.
        warnings: what is doubtful about the object's mask, in words.
    """

    prompt_ids: list[int] = []
    prompt_id: int | None = None
    obj_id: int | None = None
    record: dict[str, Any] | None = None
    warnings: list[str] = []


class SuccessDetail(Detail):
    """What all other commands but ``propagate`` have done.

    Attributes:
        is_success: whether there was something to remove, stop, pause or resume.
    """

    is_success: bool = True


class RemovedDetail(SuccessDetail):
    """What ``remove_object`` has done.

    Attributes:
        kept_away: whether the object is followed unseen, so that it is not found again.
    """

    kept_away: bool = False


class PropagateDetail(Detail):
    """Where the results of ``propagate`` are.

    Attributes:
        cursor: a cursor of the log of results; the entries of this run come after it.
        epochs: the first and the last epoch of those entries; each direction has one.
    """

    cursor: Index
    epochs: Annotated[tuple[Index, Index], Field(strict=False)]


class RunEnd(Detail):
    """A run is over: the record of a result entry of kind ``end``.

    Attributes:
        message: why the run failed, as ``maskstream.core.error_text`` writes it; otherwise empty.
        epoch: the last epoch of the run.
    """

    reason: Literal["finished", "cancelled", "failed"]
    message: str = ""
    epoch: Index = 0
