"""What an entry of a session's journal asks for, and what its outcome says.

A client writes these, a runtime reads them. They travel as JSON: masks as run-length codes,
coordinates normalised to the frame, or in pixels where ``in_pixels`` says so: the client need not
know how large the frames are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskstream.core import errors
from maskstream.core.errors import InputError, MaskstreamError, RequestError, SessionError
from maskstream.core.rle import decode_mask, encode_mask
from maskstream.pipeline.api.prompts import (
    Box,
    ConceptPrompt,
    ObjectPrompt,
    Point,
    box_faults,
    label_faults,
    normalised_boxes,
    normalised_points,
    point_faults,
    text_faults,
)
from maskstream.pipeline.api.requests import AddPrompt

_Index = Annotated[int, Field(ge=0, lt=2**53)]
_Point = Annotated[Point, Field(strict=False)]
_Box = Annotated[Box, Field(strict=False)]
Direction = Literal["both", "forward", "backward"]


class Command(BaseModel):
    """Base of all commands."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def faults(self) -> list[str]:
        """What is wrong with the fields taken together."""
        return []

    def to_payload(self) -> dict[str, Any]:
        """JSON values for ``NewEntry.payload``."""
        return self.model_dump(mode="json")


class AddConcept(Command):
    """Find everything like this, by words, exemplar boxes or both.

    Attributes:
        boxes: x, y, w, h, normalised.
        box_labels: 1 for "like this", 0 for "not like this", one for each box.
        frame_index: that the boxes are shown on; a session that runs by itself applies them on
            the first frame it has not begun yet. None: it does not matter which.
    """

    text: str | None = None
    boxes: list[_Box] = []
    box_labels: list[int] = []
    in_pixels: bool = False
    frame_index: _Index | None = None

    def faults(self) -> list[str]:
        """What is wrong with the fields taken together."""
        if self.text is None and not self.boxes:
            return ["a concept needs a text or boxes"]
        faults = [] if self.text is None else text_faults(self.text)
        if self.boxes:
            faults += box_faults(self.boxes, *_largest(self.in_pixels), name="boxes")
        return faults + label_faults(self.box_labels, len(self.boxes), "box_labels", "boxes")

    def to_prompt(self, width: int, height: int) -> ConceptPrompt:
        """The prompt in normalised coordinates, within the frame's edges.

        Args:
            width: of the frame that it is applied on, in pixels.
            height: likewise.

        Raises:
            RequestError: with pixel coordinates outside that frame.
        """
        scale = (float(width), float(height)) if self.in_pixels else (1.0, 1.0)
        _refuse(box_faults(self.boxes, *scale, name="boxes") if self.boxes else [])
        boxes = normalised_boxes(self.boxes, *scale)
        return ConceptPrompt(self.text, boxes, tuple(self.box_labels))


class AddObject(Command):
    """Follow this one, shown by points, a box or a mask.

    Attributes:
        obj_id: the object to refine, or the id that a new one is to have; None has one picked.
        points: x, y, normalised.
        point_labels: 1 on the object, 0 beside it, one for each point.
        box: x, y, w, h, normalised.
        mask: a run-length code that covers the whole frame.
        clear_old_points: False adds the points to those given before on this frame.
        frame_index: as in ``AddConcept``.
    """

    obj_id: _Index | None = None
    points: list[_Point] = []
    point_labels: list[int] = []
    box: _Box | None = None
    mask: dict[str, Any] | None = None
    clear_old_points: bool = True
    in_pixels: bool = False
    frame_index: _Index | None = None

    def faults(self) -> list[str]:
        """What is wrong with the fields taken together."""
        faults = []
        if not self.points and self.box is None and self.mask is None:
            faults.append("an object needs points, a box or a mask")
        if self.mask is not None:
            if self.points or self.box is not None:
                faults.append("a mask shows the whole object; it cannot go with points or a box")
            try:
                decode_mask(self.mask)
            except InputError as error:
                faults.append(f"mask: {error}")
        size = _largest(self.in_pixels)
        if self.points:
            faults += point_faults(self.points, *size)
        if self.box is not None:
            faults += box_faults([self.box], *size, name="box")
        return faults + label_faults(self.point_labels, len(self.points), "point_labels", "points")

    def to_prompt(self, width: int, height: int) -> ObjectPrompt:
        """The prompt in normalised coordinates; see ``AddConcept.to_prompt``."""
        scale = (float(width), float(height)) if self.in_pixels else (1.0, 1.0)
        boxes = [] if self.box is None else [self.box]
        faults = point_faults(self.points, *scale) if self.points else []
        _refuse(faults + (box_faults(boxes, *scale, name="box") if boxes else []))
        return ObjectPrompt(
            obj_id=self.obj_id,
            points=normalised_points(self.points, *scale),
            point_labels=tuple(self.point_labels),
            box=normalised_boxes(boxes, *scale)[0] if boxes else None,
            mask=None if self.mask is None else decode_mask(self.mask),
            clear_old_points=self.clear_old_points,
        )


class RemovePrompt(Command):
    """Stop finding a concept, and drop its objects."""

    prompt_id: _Index


class RemoveObject(Command):
    """Drop one object."""

    obj_id: _Index


class Propagate(Command):
    """Step over the video, in a session that its client drives.

    Attributes:
        start_frame_index: None: the earliest frame that was prompted.
        max_frames: in each direction; None: all.
    """

    direction: Direction = "both"
    start_frame_index: _Index | None = None
    max_frames: Annotated[int, Field(ge=1, lt=2**53)] | None = None


class Reset(Command):
    """Forget all prompts and objects."""


class Pause(Command):
    """Take no more frames until ``Resume``."""


class Resume(Command):
    """Go on."""


class Cancel(Command):
    """Stop a running propagation before its next frame; end a session that runs by itself."""


_MODELS: dict[str, type[Command]] = {
    "add_concept": AddConcept,
    "add_object": AddObject,
    "remove_prompt": RemovePrompt,
    "remove_object": RemoveObject,
    "propagate": Propagate,
    "reset": Reset,
    "pause": Pause,
    "resume": Resume,
    "cancel": Cancel,
}


def parse_command(kind: str, payload: Mapping[str, Any]) -> Command:
    """The command in an entry of the journal.

    Raises:
        RequestError: it names everything that is wrong with it.
    """
    model = _MODELS.get(kind)
    if model is None:
        raise RequestError([f"unknown command {kind!r:.80}; expected one of {', '.join(_MODELS)}"])
    try:
        command = model.model_validate(dict(payload))
    except ValidationError as error:
        items = error.errors(include_url=False, include_input=False)
        raise RequestError(
            [f"{'.'.join(map(str, item['loc']))}: {item['msg'].lower()}" for item in items]
        ) from None
    faults = command.faults()
    if faults:
        raise RequestError(faults)
    return command


def prompt_command(request: AddPrompt) -> tuple[Literal["add_concept", "add_object"], Command]:
    """What ``add_prompt`` asks for, as an entry of the journal: its kind and its command."""
    boxes, points = request.bounding_boxes or [], request.points or []
    in_pixels = not request.rel_coordinates
    if request.obj_id is None:
        return "add_concept", AddConcept(
            text=request.text,
            boxes=boxes,
            box_labels=request.bounding_box_labels or [1] * len(boxes),
            in_pixels=in_pixels,
            frame_index=request.frame_index,
        )
    return "add_object", AddObject(
        obj_id=request.obj_id,
        points=points,
        point_labels=request.point_labels or [1] * len(points),
        box=boxes[0] if boxes else None,
        mask=None if request.mask is None else dict(encode_mask(request.mask)),
        clear_old_points=request.clear_old_points,
        in_pixels=in_pixels,
        frame_index=request.frame_index,
    )


def _largest(in_pixels: bool) -> tuple[float, float]:
    """The frame's size for a first check; pixels are checked again when that is known."""
    return (2.0**31, 2.0**31) if in_pixels else (1.0, 1.0)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise RequestError(faults)


# What ``Outcome.detail`` holds.


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

    cursor: _Index
    epochs: Annotated[tuple[_Index, _Index], Field(strict=False)]


class RunEnd(Detail):
    """The record of a result entry of kind ``end``: a run is over.

    Attributes:
        message: why it failed, as ``error_text`` gives it; empty otherwise.
        epoch: the last one of the run.
    """

    reason: Literal["finished", "cancelled", "failed"]
    message: str = ""
    epoch: _Index = 0


# Errors on their way from a runtime to the client that is to raise them.

_ERRORS: dict[str, type[MaskstreamError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, MaskstreamError)
}


def error_text(error: MaskstreamError) -> str:
    """An error as the text of ``Outcome.rejection``, ``RunEnd.message`` or the reason for which a
    session has failed.
    """
    if isinstance(error, RequestError):
        return f"RequestError: {'; '.join(error.faults)}"
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
    return f"{name}: {error}"


def error_from_text(text: str) -> MaskstreamError:
    """Undo ``error_text``; a text without the name of an error becomes a SessionError."""
    name, _, message = text.partition(": ")
    kind = _ERRORS.get(name)
    if kind is None or not message:
        return SessionError(text)
    return RequestError([message]) if issubclass(kind, RequestError) else kind(message)
