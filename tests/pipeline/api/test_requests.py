"""Requests: good ones pass, bad ones are refused whole with every fault named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from maskstream.core.errors import InputError, RequestError
from maskstream.pipeline.api.parsing import parse_request
from maskstream.pipeline.api.requests import (
    AddPrompt,
    CloseSession,
    PropagateInVideo,
    StartSession,
)

ID = "3f0c6e7e-7c0c-4a43-9d7a-58d4b0a0f7ab"
PROMPT: dict[Any, Any] = {"type": "add_prompt", "session_id": ID, "frame_index": 0}


def _prompt(**fields: Any) -> AddPrompt:
    request = parse_request({**PROMPT, **fields})
    assert isinstance(request, AddPrompt)
    return request


def _faults(request: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        parse_request(request)
    assert caught.value.faults
    assert isinstance(caught.value, InputError)
    return caught.value.faults


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "start_session", "resource_path": "clip.mp4"},
        {"type": "start_session", "resource_path": "frames", "session_id": "mine-1"},
        {**PROMPT, "text": "red circle"},
        {
            **PROMPT,
            "text": "红色圆圈",
            "bounding_boxes": [[0, 0, 1, 1]],
            "bounding_box_labels": [0],
        },
        {**PROMPT, "bounding_boxes": [[0.1, 0.1, 0.2, 0.2]], "bounding_box_labels": [1]},
        {**PROMPT, "points": [[0.5, 1]], "point_labels": [1], "obj_id": 0},
        {**PROMPT, "bounding_boxes": [[0.1, 0.1, 0.2, 0.2]], "obj_id": 7},
        {**PROMPT, "text": "red circle", "mask": None, "points": None, "obj_id": None},
        {**PROMPT, "mask": [[0, 1], [1, 0]], "obj_id": 7, "output_prob_thresh": 0.4},
        {**PROMPT, "text": ["red circle", "blue square"]},
        {"type": "propagate_in_video", "session_id": ID},
        {"type": "propagate_in_video", "session_id": ID, "max_frame_num_to_track": -1},
        {"type": "propagate_in_video", "session_id": ID, "max_frame_num_to_track": 0},
        {
            "type": "propagate_in_video",
            "session_id": ID,
            "propagation_direction": "backward",
            "start_frame_index": 3,
            "max_frame_num_to_track": 9,
        },
        {"type": "remove_object", "session_id": ID, "obj_id": 3},
        {"type": "remove_prompt", "session_id": ID, "prompt_id": 0},
        {"type": "reset_session", "session_id": ID},
        {"type": "close_session", "session_id": ID},
        {"type": "cancel_propagation", "session_id": ID},
    ],
    ids=lambda request: request["type"],
)
def test_good_requests(request_: dict[str, Any]) -> None:
    parsed = parse_request(request_)
    assert parsed.type == request_["type"]
    for name, value in request_.items():
        if name not in ("mask", "points", "bounding_boxes"):
            assert getattr(parsed, name) == value


def test_defaults() -> None:
    assert parse_request({"type": "propagate_in_video", "session_id": ID}) == PropagateInVideo(
        type="propagate_in_video",
        session_id=ID,
        propagation_direction="both",
        start_frame_index=None,
        max_frame_num_to_track=None,
    )
    start = parse_request({"type": "start_session", "resource_path": "a", "session_id": None})
    assert isinstance(start, StartSession)
    assert start.session_id is None
    assert isinstance(parse_request({"type": "close_session", "session_id": ID}), CloseSession)


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "red circle"},
        {"text": "red circle", "bounding_boxes": [[0, 0, 1, 1]], "bounding_box_labels": [True]},
        {"bounding_boxes": [[0, 0, 1, 1]] * 2, "bounding_box_labels": [1, 0]},
    ],
)
def test_words_and_several_boxes_describe_a_concept_whatever_obj_id_says(
    fields: dict[str, Any],
) -> None:
    assert not _prompt(**fields, obj_id=1).shows_object
    assert _prompt(bounding_boxes=[[0, 0, 1, 1]], obj_id=1).shows_object


def test_true_and_false_are_labels() -> None:
    request = _prompt(points=[[0, 0], [1, 1]], point_labels=torch.tensor([True, False]), obj_id=0)
    assert request.point_labels == [1, 0]
    boxes = _prompt(text="a", bounding_boxes=[[0, 0, 1, 1]], bounding_box_labels=[False])
    assert boxes.bounding_box_labels == [0]


def test_sources_are_paths_and_pictures() -> None:
    def source(value: Any) -> Any:
        request = parse_request({"type": "start_session", "resource_path": value})
        assert isinstance(request, StartSession)
        return request.resource_path

    assert source(Path("film.mp4")) == "film.mp4"
    picture, array = Image.new("RGB", (4, 3)), np.zeros((3, 4, 3), np.uint8)
    for value, count in (
        ([picture, array], 2),
        (picture, 1),
        (array, 1),
        (np.zeros((5, 3, 4, 3), np.uint8), 5),
        (torch.zeros(2, 3, 4, 3), 2),
    ):
        assert len(source(value).pictures) == count
    for value in ([], [1, 2], ["a.jpg"], {"a": 1}, 3):
        fault = f"resource_path: a source {'in memory ' if isinstance(value, list) else ''}is a"
        assert fault in _faults({"type": "start_session", "resource_path": value})[0]


def test_arrays_are_taken_where_lists_are() -> None:
    request = _prompt(
        points=torch.tensor([[0.25, 0.5]]),
        point_labels=np.array([1], np.int32),
        obj_id=np.int64(4),
        frame_index=np.int32(2),
    )
    assert request.points == [(0.25, 0.5)]
    assert (request.obj_id, request.frame_index) == (4, 2)


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (
            {"type": "propagate_in_video", "session_id": ID, "start_frame_idx": 1},
            "unknown key 'start_frame_idx'; did you mean 'start_frame_index'?",
        ),
        ({**PROMPT, "text": "a", "boxes": []}, "unknown key 'boxes'"),
        (dict([*PROMPT.items(), ("text", "a"), (3, 4)]), "unknown key '3'"),
        ({"type": "start_sesion"}, "unknown type 'start_sesion'; did you mean 'start_session'?"),
        ({"session_id": ID}, "type is missing"),
        ({"type": ["add_prompt"]}, "unknown type"),
        ("add_prompt", "a request is a mapping with a type, not str"),
        (None, "a request is a mapping"),
        ({"type": "start_session"}, "resource_path is missing"),
        ({"type": "start_session", "resource_path": ""}, "resource_path: "),
        ({"type": "close_session", "session_id": 3}, "session_id: "),
        ({"type": "close_session", "session_id": "../../etc"}, "session_id: "),
        ({"type": "remove_object", "session_id": ID, "obj_id": "3"}, "obj_id: "),
        ({"type": "remove_object", "session_id": ID, "obj_id": True}, "obj_id: "),
        ({"type": "remove_object", "session_id": ID, "obj_id": -1}, "obj_id: "),
        (
            {"type": "propagate_in_video", "session_id": ID, "propagation_direction": "up"},
            "propagation_direction: input should be 'both', 'forward' or 'backward', not 'up'",
        ),
        ({**PROMPT, "frame_index": 1.5, "text": "a"}, "frame_index: "),
        ({**PROMPT, "frame_index": -1, "text": "a"}, "frame_index: "),
        ({**PROMPT}, "nothing is prompted"),
        ({**PROMPT, "text": None}, "nothing is prompted"),
        ({**PROMPT, "text": " \t"}, "text is empty"),
        ({**PROMPT, "text": "x" * 1001}, "text has 1001 characters; at most 1000"),
        ({**PROMPT, "text": "a", "output_prob_thresh": float("nan")}, "output_prob_thresh: "),
        ({**PROMPT, "text": ["a", 3]}, "text: a text, or a list of texts, not ['a', 3]"),
        ({**PROMPT, "text": []}, "text is empty"),
        ({**PROMPT, "text": ["a", " "]}, "text is empty"),
        ({**PROMPT, "text": ["a"] * 101}, "text has 101 entries; at most 100"),
        (
            {**PROMPT, "text": ["a", "b"], "bounding_boxes": [[0, 0, 1, 1]]},
            "bounding_boxes show one concept, and text names several",
        ),
        (
            {**PROMPT, "text": "a", "points": [[0, 0]], "point_labels": [1], "obj_id": 1},
            "text names a concept and cannot go with points or mask",
        ),
        ({**PROMPT, "points": [[0, 0]], "point_labels": [1]}, "obj_id is missing"),
        ({**PROMPT, "points": [[0, 0]], "obj_id": 1}, "point_labels is missing"),
        ({**PROMPT, "points": [], "point_labels": [], "obj_id": 1}, "points is empty"),
        (
            {**PROMPT, "points": [[0, 0]], "point_labels": [1, 0], "obj_id": 1},
            "point_labels has 2 entries for 1 points",
        ),
        (
            {**PROMPT, "points": [[0, 0]], "point_labels": [2], "obj_id": 1},
            "point_labels holds [2]; each must be 1 (this) or 0 (not this)",
        ),
        (
            {**PROMPT, "points": [[0, 1.5]], "point_labels": [1], "obj_id": 1},
            "points[0] is (0, 1.5), outside the frame; normalised coordinates lie in [0, 1]",
        ),
        (
            {**PROMPT, "points": [[0, float("nan")]], "point_labels": [1], "obj_id": 1},
            "points[0] is (0.0, nan); coordinates must be finite",
        ),
        ({**PROMPT, "points": [[0]], "point_labels": [1], "obj_id": 1}, "points[0]"),
        ({**PROMPT, "points": [["0", 0]], "point_labels": [1], "obj_id": 1}, "points[0]"),
        (
            {**PROMPT, "points": [[0, 0]] * 101, "point_labels": [1] * 101, "obj_id": 1},
            "points has 101 entries; at most 100 are allowed",
        ),
        ({**PROMPT, "point_labels": [1], "text": "a"}, "point_labels is given without points"),
        (
            {**PROMPT, "bounding_boxes": [[1.0, 0.5, 0.6, 0.1]]},
            "bounding_boxes[0] is (1, 0.5, 0.6, 0.1), which lies outside the frame or reaches far "
            "out of it; expected x, y, width, height: normalised coordinates lie in [0, 1]",
        ),
        (
            {**PROMPT, "bounding_boxes": [[480, 290, 110, 360]]},
            "these look like pixels: divide them by the frame's width and height, or say that they "
            "are pixels (rel_coordinates false)",
        ),
        ({**PROMPT, "points": [[210, 350]], "point_labels": [1], "obj_id": 1}, "look like pixels"),
        ({**PROMPT, "bounding_boxes": [[0.5, 0.5, 0.0, 0.1]]}, "without area"),
        (
            {**PROMPT, "bounding_boxes": [[0, 0, float("inf"), 1]]},
            "coordinates must be finite",
        ),
        (
            {**PROMPT, "bounding_boxes": [[0, 0, 1, 1]], "bounding_box_labels": [0]},
            "without text at least one bounding box must be labelled 1",
        ),
        (
            {
                **PROMPT,
                "bounding_boxes": [[0, 0, 1, 1]] * 2,
                "points": [[0, 0]],
                "point_labels": [1],
                "obj_id": 1,
            },
            "with points there is at most one bounding box, labelled 1",
        ),
        (
            {**PROMPT, "bounding_boxes": [[0, 0, 1, 1]], "bounding_box_labels": [0], "obj_id": 1},
            "without text at least one bounding box must be labelled 1",
        ),
        (
            {**PROMPT, "bounding_boxes": [[0, 0, 1, 1]], "obj_id": 1, "clear_old_boxes": False},
            "clear_old_boxes must be true with obj_id",
        ),
        ({**PROMPT, "mask": [[True]]}, "obj_id is missing"),
        ({**PROMPT, "mask": [[0.5]], "obj_id": 1}, "mask: a mask is a (H, W) array"),
        ({**PROMPT, "mask": [[0, 2]], "obj_id": 1}, "mask: a mask of numbers holds 0 and 1 only"),
        ({**PROMPT, "mask": [[0], [0, 1]], "obj_id": 1}, "mask: "),
        ({**PROMPT, "mask": {"size": [4, 4], "counts": "zz~"}, "obj_id": 1}, "run-length code"),
        (
            {**PROMPT, "mask": [[1]], "obj_id": 1, "bounding_boxes": [[0, 0, 1, 1]]},
            "mask shows the whole object",
        ),
    ],
)
def test_each_fault_is_named(request_: Any, fault: str) -> None:
    assert any(fault in found for found in _faults(request_)), _faults(request_)


def test_all_faults_at_once() -> None:
    faults = _faults(
        {
            "type": "add_prompt",
            "session_id": "a b",
            "frame_idx": 3,
            "text": "",
            "points": [[0.5, 3]],
            "point_label": [1],
            "output_prob_thresh": 2,
            "bounding_boxes": "none",
        }
    )
    assert [fault.split(":")[0].split(";")[0] for fault in faults] == [
        "session_id",
        "frame_index is missing",
        "bounding_boxes",
        "output_prob_thresh",
        "unknown key 'frame_idx'",
        "unknown key 'point_label'",
        "text is empty",
        "points[0] is (0.5, 3), outside the frame",
        "point_labels is missing",
        "text names a concept and cannot go with points or mask",
        "points and mask show one object",
    ]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
_KEYS = st.sampled_from([*AddPrompt.model_fields, "start_frame_index", "x"]) | st.text(max_size=5)


@hypothesis.given(
    st.dictionaries(_KEYS, _VALUES, max_size=8),
    st.sampled_from(["add_prompt", "propagate_in_video", "start_session", "close_session"]),
)
def test_whatever_comes_is_accepted_or_refused_with_reasons(
    fields: dict[str, Any], kind: str
) -> None:
    faults: list[str] | None = None
    try:
        parse_request({**fields, "type": kind})
    except RequestError as error:
        faults = error.faults
    assert faults is None or (faults and all(faults))
