"""The requests of the session API, checked as a whole before anything is done.

A request that is wrong anywhere is refused with every fault named: unknown keys (with what was
probably meant), missing fields, wrong types, values out of range, fields that exclude each other.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic import ValidationError as _ValidationError
from pydantic_core import ErrorDetails

from core.errors import RequestError
from pipeline.prompts import (
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
from pipeline.rle import decode_mask

SessionId = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")
]
FrameIndex = Annotated[int, Field(ge=0, lt=2**53)]
ObjId = Annotated[int, Field(ge=0, lt=2**53)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
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


# JSON has lists where we have tuples.
_PointField = Annotated[Point, Field(strict=False)]
_BoxField = Annotated[Box, Field(strict=False)]
Mask = Annotated[Any, BeforeValidator(_to_mask)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def faults(self, given: Collection[str]) -> list[str]:
        """What is wrong with the fields taken together.

        Args:
            given: the fields that the request has, also those that are malformed and so are
                missing here.
        """
        return []


class StartSession(_Model):
    """Open a session on a video file, a folder of JPEGs or an image.

    Frames are always read as they are needed and never kept, so the two ``offload`` options of
    earlier clients have nothing left to do; they are accepted.
    """

    type: Literal["start_session"]
    resource_path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    session_id: SessionId | None = None
    offload_video_to_cpu: bool = False
    offload_state_to_cpu: bool = False


class AddPrompt(_Model):
    """Add a concept (text and boxes) or an object (points, a box or a mask, with ``obj_id``)."""

    type: Literal["add_prompt"]
    session_id: SessionId
    frame_index: FrameIndex
    text: str | None = None
    bounding_boxes: list[_BoxField] | None = None
    bounding_box_labels: list[int] | None = None
    points: list[_PointField] | None = None
    point_labels: list[int] | None = None
    mask: Mask = None
    obj_id: ObjId | None = None
    output_prob_thresh: Probability | None = None
    clear_old_points: bool = True
    clear_old_boxes: bool = True
    rel_coordinates: bool = True

    def faults(self, given: Collection[str]) -> list[str]:
        """What is wrong with the prompt, as far as it can be told without the video."""
        # Pixels are checked against the frame's size by ``to_prompt``.
        size = (1.0, 1.0) if self.rel_coordinates else (2.0**31, 2.0**31)
        faults = [] if self.text is None else text_faults(self.text)
        if self.points is not None:
            faults += point_faults(self.points, *size)
        if self.bounding_boxes is not None:
            faults += box_faults(self.bounding_boxes, *size)
        return faults + self._label_faults(given) + self._kind_faults(given)

    def to_prompt(self, width: int, height: int) -> ConceptPrompt | ObjectPrompt:
        """The prompt in normalised coordinates.

        Args:
            width: of the video's frames, in pixels.
            height: likewise.

        Raises:
            RequestError: with pixel coordinates outside that frame.
        """
        scale = (1.0, 1.0) if self.rel_coordinates else (float(width), float(height))
        points, boxes = self.points or [], self.bounding_boxes or []
        faults = point_faults(points, *scale) if points else []
        faults += box_faults(boxes, *scale) if boxes else []
        if faults:
            raise RequestError(faults)
        unit_points, unit_boxes = normalised_points(points, *scale), normalised_boxes(boxes, *scale)
        if self.obj_id is None:
            labels = self.bounding_box_labels or [1] * len(boxes)
            return ConceptPrompt(self.text, unit_boxes, tuple(labels))
        return ObjectPrompt(
            obj_id=self.obj_id,
            points=unit_points,
            point_labels=tuple(self.point_labels or [1] * len(points)),
            box=unit_boxes[0] if unit_boxes else None,
            mask=self.mask,
        )

    def _label_faults(self, given: Collection[str]) -> list[str]:
        faults = []
        for prompts, labels, names in (
            (self.points, self.point_labels, ("points", "point_labels")),
            (self.bounding_boxes, self.bounding_box_labels, _BOX_NAMES),
        ):
            if names[1] in given and names[0] not in given:
                faults.append(f"{names[1]} is given without {names[0]}")
            elif labels is not None and prompts is not None:
                faults += label_faults(labels, len(prompts), names[1], names[0])
        if "points" in given and "point_labels" not in given:
            faults.append("point_labels is missing: one 1 (on it) or 0 (beside it) for each point")
        return faults

    def _kind_faults(self, given: Collection[str]) -> list[str]:
        has_text, has_boxes = "text" in given, "bounding_boxes" in given
        has_points, has_mask, has_id = "points" in given, "mask" in given, "obj_id" in given
        if not (has_text or has_boxes or has_points or has_mask):
            return ["nothing is prompted: give text, bounding_boxes, points or mask"]
        faults = []
        if has_text and (has_points or has_mask):
            faults.append(
                "text names a concept and cannot go with points or mask; send two prompts"
            )
        if has_mask and (has_points or has_boxes):
            faults.append("mask shows the whole object and cannot go with points or bounding_boxes")
        if not has_id and (has_points or has_mask):
            faults.append("points and mask show one object: obj_id is missing")
        if has_id and has_text:
            faults.append("obj_id goes with points, a box or a mask, not with text")
        if has_id and has_boxes:
            labels = self.bounding_box_labels
            if len(self.bounding_boxes or []) > 1 or (labels is not None and labels != [1]):
                faults.append("with obj_id there is exactly one bounding box, labelled 1")
        elif has_boxes and not has_text and set(self.bounding_box_labels or [1]) == {0}:
            faults.append("without text at least one bounding box must be labelled 1")
        return faults


_BOX_NAMES = ("bounding_boxes", "bounding_box_labels")


class PropagateInVideo(_Model):
    """Stream the results of frame after frame."""

    type: Literal["propagate_in_video"]
    session_id: SessionId
    propagation_direction: Direction = "both"
    start_frame_index: FrameIndex | None = None
    max_frame_num_to_track: Annotated[int, Field(ge=1)] | None = None
    output_prob_thresh: Probability | None = None


class RemoveObject(_Model):
    """Drop one object."""

    type: Literal["remove_object"]
    session_id: SessionId
    obj_id: ObjId
    frame_index: FrameIndex | None = None
    is_user_action: bool = True


class RemovePrompt(_Model):
    """Stop looking for a concept and drop its objects."""

    type: Literal["remove_prompt"]
    session_id: SessionId
    prompt_id: Annotated[int, Field(ge=0, lt=2**53)]


class ResetSession(_Model):
    """Forget all prompts and objects; keep the source."""

    type: Literal["reset_session"]
    session_id: SessionId


class CloseSession(_Model):
    """End a session and free what it holds; the two tuning options of earlier clients are moot."""

    type: Literal["close_session"]
    session_id: SessionId
    run_gc_collect: bool = True
    clear_cache_threshold: Annotated[int, Field(ge=0, le=100)] | None = None


class CancelPropagation(_Model):
    """Stop a running propagation at the next frame."""

    type: Literal["cancel_propagation"]
    session_id: SessionId


Request = (
    StartSession
    | AddPrompt
    | PropagateInVideo
    | RemoveObject
    | RemovePrompt
    | ResetSession
    | CloseSession
    | CancelPropagation
)
_MODELS: dict[str, type[_Model]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(Request)
}


def parse_request(request: Any) -> Request:
    """Check a request.

    Args:
        request: a mapping. Arrays of numpy or torch are taken where lists are.

    Returns:
        One of the models above.

    Raises:
        RequestError: it was refused; ``faults`` names everything that is wrong with it.
    """
    if not isinstance(request, Mapping):
        raise RequestError([f"a request is a mapping with a type, not {type(request).__name__}"])
    kind = request.get("type")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise RequestError([_type_fault(request)])
    plain = {str(key): value if key == "mask" else _plain(value) for key, value in request.items()}
    given = {key for key, value in plain.items() if value is not None}
    faults: list[str] = []
    try:
        parsed = model.model_validate(plain)
    except _ValidationError as error:
        items = error.errors(include_url=False)
        faults += [_sentence(item, model) for item in items]
        bad = {item["loc"][0] for item in items}
        sound = {key: value for key, value in plain.items() if key not in bad}
        parsed = model.model_construct(None, **sound)
    faults += parsed.faults(given)
    if faults:
        raise RequestError(list(dict.fromkeys(faults)))
    return cast(Request, parsed)


def _type_fault(request: Mapping[Any, Any]) -> str:
    known = ", ".join(_MODELS)
    if "type" not in request:
        return f"type is missing; it must be one of {known}"
    kind = request["type"]
    return f"unknown type {kind!r:.80}{_suggestion(str(kind), list(_MODELS))}; types are {known}"


def _sentence(error: ErrorDetails, model: type[_Model]) -> str:
    where = _place(error["loc"])
    if error["type"] == "extra_forbidden":
        names = list(model.model_fields)
        return f"unknown key {where!r:.80}{_suggestion(where, names)}"
    if error["type"] == "missing" and len(error["loc"]) == 1:
        return f"{where} is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = f"{error['input']!r:.60}" if not isinstance(error["input"], np.ndarray) else "an array"
    return f"{where}: {message[:1].lower()}{message[1:]}, not {shown}"


def _place(loc: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc]
    return "".join(parts).removeprefix(".")


def _suggestion(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _plain(value: Any) -> Any:
    """Arrays and scalars of numpy or torch as lists and numbers; anything else as it is."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) and not isinstance(value, type) else value
