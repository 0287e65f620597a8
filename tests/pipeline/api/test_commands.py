"""Prompts as entries of the journal: made from requests, read back, put on a frame."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from maskstream.core.errors import RequestError
from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.commands import (
    AddConcept,
    AddObject,
    Propagate,
    Reset,
    parse_command,
    prompt_command,
)
from maskstream.pipeline.api.parsing import parse_request
from maskstream.pipeline.api.requests import AddPrompt
from tests.pipeline.hostile import VALUES

PROMPT = {"type": "add_prompt", "session_id": "s", "frame_index": 4}


def made(**fields: Any) -> AddConcept | AddObject:
    """A command from a request, after a journey through the journal."""
    request = parse_request(PROMPT | fields)
    assert isinstance(request, AddPrompt)
    kind, command = prompt_command(request)
    read = parse_command(kind, json.loads(json.dumps(command.to_payload())))
    assert read == command
    assert isinstance(read, AddConcept | AddObject)
    return read


def concept(**fields: Any) -> AddConcept:
    command = made(**fields)
    assert isinstance(command, AddConcept)
    return command


def an_object(**fields: Any) -> AddObject:
    command = made(obj_id=3, **fields)
    assert isinstance(command, AddObject)
    return command


def test_concepts() -> None:
    command = concept(text="a", bounding_boxes=[[0.25, 0.5, 0.5, 0.5]])
    assert command == AddConcept(
        text="a", boxes=[(0.25, 0.5, 0.5, 0.5)], box_labels=[1], frame_index=4
    )
    assert command.at(100, 50) == command
    labelled = concept(bounding_boxes=[[0, 0, 1, 1]] * 2, bounding_box_labels=[0, 1])
    assert (labelled.text, labelled.box_labels) == (None, [0, 1])


def test_objects() -> None:
    shown = an_object(points=[[0.1, 0.2]], point_labels=[0])
    assert shown == AddObject(obj_id=3, points=[(0.1, 0.2)], point_labels=[0], frame_index=4)
    boxed = an_object(bounding_boxes=[[0, 0, 1, 1.0005]])
    assert boxed.box == (0, 0, 1, 1.0005)
    assert boxed.at(100, 50).box == (0, 0, 1, 1)


@pytest.mark.parametrize("clear", [True, False])
def test_earlier_clicks_are_cleared_unless_they_are_to_stay(clear: bool) -> None:
    fields = {"points": [[0.1, 0.2]], "point_labels": [1]}
    assert an_object(**fields, clear_old_points=clear).at(100, 50).clear_old_points is clear
    assert an_object(**fields).clear_old_points


def test_pixels() -> None:
    pixels = {"rel_coordinates": False}
    shown = an_object(points=[[50, 10]], point_labels=[1], **pixels)
    assert shown.in_pixels
    assert shown.at(100, 50) == AddObject(
        obj_id=3, points=[(0.5, 0.2)], point_labels=[1], frame_index=4
    )
    boxes = concept(text="a", bounding_boxes=[[10, 10, 20, 20]], **pixels)
    assert boxes.at(100, 50).boxes == [pytest.approx((0.1, 0.2, 0.2, 0.4))]
    cut = an_object(bounding_boxes=[[90, 40, 30, 20]], **pixels)
    assert cut.at(100, 50).box == pytest.approx((0.9, 0.8, 0.1, 0.2))


def test_a_list_of_texts_is_a_concept_each() -> None:
    assert concept(text=["a", "b"]).texts == ["a", "b"]
    assert concept(text="a").texts == ["a"]
    assert concept(bounding_boxes=[[0, 0, 1, 1]]).texts == []


def test_pixels_outside_the_frame_are_refused_in_the_words_of_the_request() -> None:
    pixels = {"rel_coordinates": False}
    expected = (
        r"points\[0\] is \(50, 10\), outside the frame; x lies in \[0, 40\] and y in \[0, 50\]"
    )
    with pytest.raises(RequestError, match=expected):
        an_object(points=[[50, 10]], point_labels=[1], **pixels).at(40, 50)
    for command in (
        concept(bounding_boxes=[[10, 10, 20, 20]], **pixels),
        an_object(bounding_boxes=[[10, 10, 20, 20]], **pixels),
    ):
        with pytest.raises(
            RequestError, match=r"bounding_boxes\[0\] is \(10, 10, 20, 20\)"
        ) as caught:
            command.at(40, 8)
        assert len(caught.value.faults) == 1


def test_masks_as_arrays_and_codes() -> None:
    mask = np.zeros((6, 8), np.bool_)
    mask[2:4, 3:7] = True
    for given in (mask, mask.tolist(), mask.astype(np.uint8), encode_mask(mask)):
        found = an_object(mask=given).at(8, 6).mask_array
        assert found is not None
        assert found.dtype == np.bool_
        assert np.array_equal(found, mask)
    assert an_object(points=[[0, 0]], point_labels=[1]).mask_array is None


@pytest.mark.parametrize(
    ("kind", "payload", "faults"),
    [
        ("add_star", {}, ["unknown command 'add_star'; expected one of add_concept, add_object"]),
        ("add_concept", {}, ["a concept needs a text or boxes"]),
        ("add_concept", {"text": " "}, ["text is empty"]),
        ("add_concept", {"boxes": 3, "colour": 1}, ["boxes: input should", "colour: extra inputs"]),
        (
            "add_concept",
            {"text": "a", "boxes": [[0, 0, 3, 1]]},
            ["bounding_boxes[0] is (0, 0, 3, 1), which", "bounding_box_labels has 0 entries for 1"],
        ),
        (
            "add_concept",
            {"text": ["a", "b"], "boxes": [[0, 0, 1, 1]], "box_labels": [1]},
            ["boxes show one concept, and text names several"],
        ),
        ("add_object", {"obj_id": 1}, ["an object needs points, a box or a mask"]),
        (
            "add_object",
            {"points": [[0, 0]], "point_labels": [2], "mask": {}},
            ["a mask shows the whole object", "mask: a run-length code", "point_labels holds [2]"],
        ),
        ("remove_object", {}, ["obj_id: field required"]),
        ("propagate", {"direction": "up"}, ["direction: input should be 'both', "]),
    ],
)
def test_all_faults_of_an_entry_are_named(
    kind: str, payload: dict[str, Any], faults: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        parse_command(kind, payload)
    found = caught.value.faults
    assert [one[: len(fault)] for one, fault in zip(found, faults, strict=True)] == faults


def test_commands_without_coordinates() -> None:
    assert parse_command("reset", {}) == Reset()
    assert parse_command("propagate", {"max_distance": 3}) == Propagate(max_distance=3)


@hypothesis.given(
    st.sampled_from(["add_concept", "add_object"]),
    st.dictionaries(
        st.sampled_from([*AddConcept.model_fields, *AddObject.model_fields]), VALUES, max_size=6
    ),
)
def test_any_entry_is_read_or_refused_with_reasons(kind: str, payload: dict[str, Any]) -> None:
    faults: list[str] | None = None
    try:
        parse_command(kind, payload)
    except RequestError as error:
        faults = error.faults
    assert faults is None or (faults and all(faults))


_UNIT = st.floats(0, 1)


@hypothesis.given(
    st.lists(st.tuples(_UNIT, _UNIT, st.integers(0, 1)), min_size=1, max_size=100),
    st.integers(0, 2**40),
)
def test_any_points_in_the_frame_pass(points: list[tuple[float, float, int]], obj_id: int) -> None:
    command = made(
        points=[[x, y] for x, y, _ in points],
        point_labels=[label for _, _, label in points],
        obj_id=obj_id,
    ).at(640, 480)
    assert isinstance(command, AddObject)
    assert command.points == [(x, y) for x, y, _ in points]


@hypothesis.given(st.floats(), st.floats(), st.floats(), st.floats())
def test_boxes_are_taken_exactly_when_part_of_them_lies_in_the_frame(
    x: float, y: float, w: float, h: float
) -> None:
    try:
        (box,) = concept(text="a", bounding_boxes=[[x, y, w, h]]).at(10, 10).boxes
    except RequestError:
        assert not (
            0 <= x < 1 and 0 <= y < 1 and 0 < w <= 1 and 0 < h <= 1 and x + w > x and y + h > y
        )
    else:
        assert x < 1
        assert y < 1
        assert x + w > 0
        assert y + h > 0
        assert all(0 <= value <= 1 for value in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
