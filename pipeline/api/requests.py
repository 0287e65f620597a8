"""The requests of the session API: their fields, and what is wrong with fields taken together.

They are the same in process, through a client and at the runtime. ``parsing.py`` makes them from
what clients send.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from maskstream.pipeline.api.fields import (
    BoxList,
    Direction,
    Index,
    LabelList,
    Mask,
    Owner,
    PicturesInMemory,
    PointList,
    Probability,
    PushedPicture,
    RequestModel,
    Resource,
    Seconds,
    SessionId,
    Texts,
)
from maskstream.pipeline.api.frame_codec import Coding
from maskstream.pipeline.api.options import MEMORY_SCHEME, SessionOptions
from maskstream.pipeline.api.prompts import (
    ANY_SIZE,
    UNIT,
    box_faults,
    label_faults,
    point_faults,
    text_faults,
)


class StartSession(RequestModel, SessionOptions):
    """Open a session on a video file, a folder of pictures, an image, a stream or a camera, or on
    ``pushed://``: frames that the client pushes. The options are those of ``SessionOptions``.

    A session in this process can also have pictures in memory: ``resource_path`` is then a list of
    PIL images or arrays.

    The owner is a label, by which sessions are counted and listed. It keeps nobody out: whoever
    reaches the session store can use any session. See :mod:`maskstream.pipeline.api.access`.

    The two ``offload`` options are accepted, since clients of SAM 3 send them, and do nothing:
    frames are read when they are needed and never kept.
    """

    type: Literal["start_session"]
    resource_path: Resource = Field(repr=False)
    session_id: SessionId | None = None
    owner: Owner = "anonymous"
    expire_after_s: Annotated[float, Field(gt=0, le=366 * 86400, allow_inf_nan=False)] | None = None
    offload_video_to_cpu: bool = False
    offload_state_to_cpu: bool = False

    def faults(self, given: Collection[str]) -> list[str]:
        """What is wrong with the options for this source."""
        source = getattr(self, "resource_path", None)
        if isinstance(source, PicturesInMemory):
            source = MEMORY_SCHEME
        return self.option_faults(source) if isinstance(source, str) else []

    @property
    def options(self) -> SessionOptions:
        """The options alone."""
        values = {name: getattr(self, name) for name in SessionOptions.model_fields}
        return SessionOptions.model_construct(None, **values)


class AddPrompt(RequestModel):
    """Add concepts (texts and boxes) or an object (points, a box or a mask, with ``obj_id``).

    A list of texts adds a concept for each. A text or several boxes describe a concept also where
    ``obj_id`` is given, as programs for SAM 3 do: what is found gets identities of its own.
    """

    type: Literal["add_prompt"]
    session_id: SessionId
    frame_index: Index
    text: Texts = None
    bounding_boxes: BoxList | None = None
    bounding_box_labels: LabelList | None = None
    points: PointList | None = None
    point_labels: LabelList | None = None
    mask: Mask = None
    obj_id: Index | None = None
    output_prob_thresh: Probability | None = None
    clear_old_points: bool = True
    clear_old_boxes: bool = True
    rel_coordinates: bool = True

    def faults(self, given: Collection[str]) -> list[str]:
        """What is wrong with the prompt. Pixels are checked when the frame's size is known."""
        size = UNIT if self.rel_coordinates else ANY_SIZE
        faults = [] if self.text is None else text_faults(self.text)
        if self.points is not None:
            faults += point_faults(self.points, *size)
        if self.bounding_boxes is not None:
            faults += box_faults(self.bounding_boxes, *size)
        return faults + self._label_faults(given) + self._kind_faults(given)

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
        if has_boxes and isinstance(self.text, list) and len(self.text) > 1:
            faults.append(
                "bounding_boxes show one concept, and text names several; send a prompt for each"
            )
        if self.shows_object and has_boxes and not self.clear_old_boxes:
            faults.append(
                "clear_old_boxes must be true with obj_id: an object has one box at a time, which "
                "the next box replaces"
            )
        labels = self.bounding_box_labels
        if has_points and has_boxes and (len(self.bounding_boxes or []) > 1 or labels == [0]):
            faults.append("with points there is at most one bounding box, labelled 1")
        elif has_boxes and not has_text and set(labels or [1]) == {0}:
            faults.append("without text at least one bounding box must be labelled 1")
        return faults

    @property
    def shows_object(self) -> bool:
        """Whether this shows one object; otherwise it describes concepts."""
        if self.obj_id is None or self.text is not None:
            return False
        return (
            self.points is not None or self.mask is not None or len(self.bounding_boxes or []) == 1
        )


_BOX_NAMES = ("bounding_boxes", "bounding_box_labels")


class PropagateInVideo(RequestModel):
    """Step over the video, and stream the result of each frame.

    ``max_frame_num_to_track`` counts as SAM 3 does: it is how far the run goes from its start.
    Forward these are the frames start … start + n, backward start - 1 … start - n. None and -1 are
    no limit.
    """

    type: Literal["propagate_in_video"]
    session_id: SessionId
    propagation_direction: Direction = "both"
    start_frame_index: Index | None = None
    max_frame_num_to_track: Annotated[int, Field(ge=-1, lt=2**53)] | None = None
    output_prob_thresh: Probability | None = None


class RemoveObject(RequestModel):
    """Drop one object.

    ``keep_away``: what was found by words or examples is kept away while it is in view, which the
    answer's ``kept_away`` says. Otherwise it is found again at once.
    """

    type: Literal["remove_object"]
    session_id: SessionId
    obj_id: Index
    keep_away: bool = True
    frame_index: Index | None = None
    is_user_action: bool = True


class RemovePrompt(RequestModel):
    """Stop looking for a concept and drop its objects."""

    type: Literal["remove_prompt"]
    session_id: SessionId
    prompt_id: Index


class ResetSession(RequestModel):
    """Forget all prompts and objects; keep the source."""

    type: Literal["reset_session"]
    session_id: SessionId


class CloseSession(RequestModel):
    """End a session and free what it holds.

    The two tuning options are accepted, since clients of SAM 3 send them, and do nothing.
    """

    type: Literal["close_session"]
    session_id: SessionId
    run_gc_collect: bool = True
    clear_cache_threshold: Annotated[int, Field(ge=0, le=100)] | None = None


class CancelPropagation(RequestModel):
    """Stop a running propagation before its next frame."""

    type: Literal["cancel_propagation"]
    session_id: SessionId


class PauseSession(RequestModel):
    """Take no more frames until ``resume_session``; prompts are still accepted."""

    type: Literal["pause_session"]
    session_id: SessionId


class ResumeSession(RequestModel):
    """Go on after ``pause_session``."""

    type: Literal["resume_session"]
    session_id: SessionId


class ListSessions(RequestModel):
    """List all sessions, or those of one owner."""

    type: Literal["list_sessions"]
    owner: Owner | None = None


class GetSession(RequestModel):
    """Tell what a session is doing: its state, where its frames went, rates and latencies."""

    type: Literal["get_session"]
    session_id: SessionId


class GetResults(RequestModel):
    """Read a page of the log of results from a cursor on; the answer has the next cursor."""

    type: Literal["get_results"]
    session_id: SessionId
    cursor: Index = 0
    max_results: Annotated[int, Field(ge=1, le=1000)] = 64
    timeout_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.0
    output_prob_thresh: Probability | None = None


class StreamResults(RequestModel):
    """Stream the log of results from a cursor on, until the session is over."""

    type: Literal["stream_results"]
    session_id: SessionId
    cursor: Index = 0
    output_prob_thresh: Probability | None = None


class PushFrame(RequestModel):
    """Give the next frame to a session with the source ``pushed://``.

    Attributes:
        coding: how the frame is encoded for its way; ``zlib`` and ``png`` lose nothing. The bytes
            of a JPEG or PNG picture are sent as they are.
        is_last: no frame comes after this one; then ``frame`` may be left out.
    """

    type: Literal["push_frame"]
    session_id: SessionId
    frame: PushedPicture = Field(default=None, repr=False)
    pts_s: Seconds | None = None
    coding: Coding = "zlib"
    is_last: bool = False

    def faults(self, given: Collection[str]) -> list[str]:
        """What is wrong with the fields taken together."""
        if "frame" not in given and not self.is_last:
            return ["frame is missing; only with is_last can it be left out"]
        return []


Request = (
    StartSession
    | AddPrompt
    | PropagateInVideo
    | RemoveObject
    | RemovePrompt
    | ResetSession
    | CloseSession
    | CancelPropagation
    | PauseSession
    | ResumeSession
    | ListSessions
    | GetSession
    | GetResults
    | StreamResults
    | PushFrame
)
StreamRequest = PropagateInVideo | StreamResults
