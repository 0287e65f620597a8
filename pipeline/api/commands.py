"""What the entries of a session's journal ask for.

A client writes these and a runtime reads them. They travel as JSON, masks as run-length codes.
Coordinates are normalised to the frame, or pixels when ``in_pixels`` is true: then the client does
not need to know how large the frames are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maskstream.core.errors import InputError, RequestError
from maskstream.core.rle import decode_mask, encode_mask
from maskstream.pipeline.api.faults import stored_faults
from maskstream.pipeline.api.fields import BoxField, Direction, Index, PointField, Texts
from maskstream.pipeline.api.prompts import (
    ANY_SIZE,
    UNIT,
    Size,
    box_faults,
    label_faults,
    normalised_boxes,
    normalised_points,
    point_faults,
    text_faults,
)
from maskstream.pipeline.api.requests import AddPrompt


class Command(BaseModel):
    """Base of all commands."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def to_payload(self) -> dict[str, Any]:
        """JSON values for ``NewEntry.payload``."""
        return self.model_dump(mode="json")


class PromptCommand(Command, ABC):
    """Base of the two prompts.

    A prompt is checked when it is made, from a request or from an entry of the journal. Pixels are
    checked once more when the frame's size is known. The faults name fields as ``add_prompt`` does,
    because that is what users have written.

    Attributes:
        in_pixels: whether coordinates are pixels; otherwise they are normalised.
        frame_index: the frame that the prompt was drawn on; None: the session chooses one. A
            session that runs by itself always takes the first frame that it has not begun.
    """

    in_pixels: bool = False
    frame_index: Index | None = None

    def at(self, width: int, height: int) -> Self:
        """The same prompt in normalised coordinates, cut at the frame's edges.

        Args:
            width: width in pixels of the frame that the prompt is applied on.
            height: its height in pixels.

        Raises:
            RequestError: pixel coordinates lie outside that frame.
        """
        size = (float(width), float(height)) if self.in_pixels else UNIT
        if self.in_pixels:
            self._check(size)
        return self.model_copy(update={"in_pixels": False, **self._normalised(size)})

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        self._check(ANY_SIZE if self.in_pixels else UNIT)
        return self

    def _check(self, size: Size) -> None:
        faults = self._faults(size)
        if faults:
            raise RequestError(faults)

    @abstractmethod
    def _faults(self, size: Size) -> list[str]:
        """What is wrong with the prompt on a frame of this (width, height)."""

    @abstractmethod
    def _normalised(self, size: Size) -> dict[str, Any]:
        """The fields that hold coordinates, normalised to a frame of this (width, height)."""


class AddConcept(PromptCommand):
    """Find everything that words, exemplar boxes or both describe.

    Attributes:
        text: the words of a concept, or a list of those of several; boxes go with one at most.
        boxes: x, y, w, h.
        box_labels: 1 for "like this", 0 for "not like this", one for each box.
    """

    text: Texts = None
    boxes: list[BoxField] = []
    box_labels: list[int] = []

    @property
    def texts(self) -> list[str]:
        """The words of each concept; none where it is only shown."""
        if self.text is None:
            return []
        return [self.text] if isinstance(self.text, str) else list(self.text)

    def _faults(self, size: Size) -> list[str]:
        if self.text is None and not self.boxes:
            return ["a concept needs a text or boxes"]
        if self.boxes and len(self.texts) > 1:
            return ["boxes show one concept, and text names several"]
        faults = [] if self.text is None else text_faults(self.text)
        faults += box_faults(self.boxes, *size) if self.boxes else []
        return faults + label_faults(
            self.box_labels, len(self.boxes), "bounding_box_labels", "bounding_boxes"
        )

    def _normalised(self, size: Size) -> dict[str, Any]:
        return {"boxes": normalised_boxes(self.boxes, *size)}


class AddObject(PromptCommand):
    """Follow one object, shown by points, a box (with or without points) or a mask.

    Attributes:
        obj_id: the object to refine, or the id for a new one; None: the session picks an id.
        points: x, y.
        point_labels: 1 on the object, 0 beside it, one for each point.
        box: x, y, w, h.
        mask: a run-length code that covers the whole frame.
        clear_old_points: False adds the points to those given before on the same frame.
        label: what to call a new object; None: "object".
    """

    obj_id: Index | None = None
    points: list[PointField] = []
    point_labels: list[int] = []
    box: BoxField | None = None
    mask: dict[str, Any] | None = None
    clear_old_points: bool = True
    label: str | None = None

    @property
    def mask_array(self) -> NDArray[np.bool_] | None:
        """The mask as (H, W) bool, true inside."""
        return None if self.mask is None else decode_mask(self.mask)

    @property
    def _boxes(self) -> list[BoxField]:
        return [] if self.box is None else [self.box]

    def _faults(self, size: Size) -> list[str]:
        faults = []
        if not self.points and self.box is None and self.mask is None:
            faults.append("an object needs points, a box or a mask")
        if self.mask is not None and (self.points or self.box is not None):
            faults.append("a mask shows the whole object; it cannot go with points or a box")
        try:
            _ = self.mask_array
        except InputError as error:
            faults.append(f"mask: {error}")
        faults += [] if self.label is None else text_faults(self.label)
        faults += point_faults(self.points, *size) if self.points else []
        faults += box_faults(self._boxes, *size) if self.box is not None else []
        return faults + label_faults(self.point_labels, len(self.points), "point_labels", "points")

    def _normalised(self, size: Size) -> dict[str, Any]:
        boxes = normalised_boxes(self._boxes, *size)
        return {
            "points": normalised_points(self.points, *size),
            "box": boxes[0] if boxes else None,
        }


class RemovePrompt(Command):
    """Stop finding a concept, and drop its objects."""

    prompt_id: Index


class RemoveObject(Command):
    """Drop one object.

    Attributes:
        keep_away: follow it unseen, if it was found, so that it is not found again.
    """

    obj_id: Index
    keep_away: bool = True


class Propagate(Command):
    """Step over the video, in a session that waits for its client.

    Attributes:
        start_frame_index: where to start; None: the earliest frame that has a prompt.
        max_distance: the last frame is so far from the start, in each direction; None: the last or
            the first of the video. A pass forward begins with the start itself, one backward with
            the frame before it.
    """

    direction: Direction = "both"
    start_frame_index: Index | None = None
    max_distance: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class Reset(Command):
    """Forget all prompts and objects."""


class Pause(Command):
    """Take no more frames until ``Resume``."""


class Resume(Command):
    """Go on."""


class Cancel(Command):
    """Stop a running propagation before its next frame, or end a session that runs by itself."""


C = TypeVar("C", bound=Command)

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
        RequestError: the entry holds no such command; every fault is named.
    """
    model = _MODELS.get(kind)
    if model is None:
        raise RequestError([f"unknown command {kind!r:.80}; expected one of {', '.join(_MODELS)}"])
    return _checked(model, payload)


def prompt_command(
    request: AddPrompt,
) -> tuple[Literal["add_concept"], AddConcept] | tuple[Literal["add_object"], AddObject]:
    """What ``add_prompt`` asks for, as an entry of the journal: its kind and its command.

    Raises:
        RequestError: the mask is too large.
    """
    boxes, points = request.bounding_boxes or [], request.points or []
    common = {"in_pixels": not request.rel_coordinates, "frame_index": request.frame_index}
    if not request.shows_object:
        concept = {
            "text": request.text,
            "boxes": boxes,
            "box_labels": request.bounding_box_labels or [1] * len(boxes),
        }
        return "add_concept", _checked(AddConcept, concept | common)
    shown = {
        "obj_id": request.obj_id,
        "points": points,
        "point_labels": request.point_labels or [1] * len(points),
        "box": boxes[0] if boxes else None,
        "mask": None if request.mask is None else dict(encode_mask(request.mask)),
        "clear_old_points": request.clear_old_points,
    }
    return "add_object", _checked(AddObject, shown | common)


def _checked(model: type[C], values: Mapping[str, Any]) -> C:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise RequestError(stored_faults(error)) from None
