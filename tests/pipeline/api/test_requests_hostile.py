"""Requests from clients that are careless, confused or hostile."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from maskstream.core.errors import RequestError
from maskstream.pipeline.api.faults import MAX_FAULTS
from maskstream.pipeline.api.parsing import (
    parse_request,
    parse_single_request,
    parse_stream_request,
)
from maskstream.pipeline.api.requests import (
    GetResults,
    ListSessions,
    PushFrame,
    StartSession,
    StreamResults,
)
from tests.pipeline.hostile import OPTIONS, REQUESTS, check_options, check_request


@settings(max_examples=400)
@given(REQUESTS)
def test_any_request_is_taken_or_refused_with_reasons(request_: dict[Any, Any]) -> None:
    check_request(request_)


@settings(max_examples=200)
@given(OPTIONS)
def test_any_options_of_a_session(options: dict[str, Any]) -> None:
    check_options(options)


START = {"type": "start_session", "resource_path": "rtsp://cam/x"}
PROMPT = {"type": "add_prompt", "session_id": "s", "frame_index": 0}


def faults(request: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        parse_request(request)
    return caught.value.faults


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ({**PROMPT, "text": "x" * 1_000_000}, "text has 1000000 characters; at most 1000"),
        ({**START, "resource_path": "x" * 5000}, "resource_path has 5000 characters"),
        (
            {**PROMPT, "points": [[0.5, 0.5]] * 50_000, "point_labels": [1] * 50_000, "obj_id": 1},
            "points has 50000 entries; at most 100 are allowed",
        ),
        (
            {**PROMPT, "bounding_boxes": [[0, 0, 2, 2]] * 50_000},
            "bounding_boxes has 50000 entries; at most 100 are allowed",
        ),
        ({**PROMPT, "text": "a"} | {f"k{n}": 0 for n in range(5000)}, "the request has 5004 keys"),
        ({**PROMPT, "text": "a", "obj_id": 10**5000}, "obj_id: "),
        ({**PROMPT, "text": "a", "obj_id": 2**53}, "obj_id: input should be less than"),
        ({"type": "x" * 100_000}, "unknown type a text of 100000 characters"),
        ({**PROMPT, "session_id": "a b"}, "session_id: "),
        ({**PROMPT, "session_id": "s" * 200}, "session_id has 200 characters"),
        ({**START, "target_fps": 5, "every_nth": 2}, "give one of them"),
        ({**START, "region": [0.5, 0, 0.6, 1]}, "an area inside the frame"),
        ({**START, "region": [0.5, 0, 0.5]}, "region"),
        ({**START, "queue_size": 257}, "queue_size: input should be less than or equal to 256"),
        ({**START, "loop": True}, "loop is for files; a stream has no beginning"),
        ({**START, "start_frame": 3}, "start_frame is for files"),
        ({**START, "autostart": False}, "a stream cannot be held back"),
        ({**START, "latensy": "live"}, "unknown key 'latensy'; did you mean 'latency'?"),
        ({**START, "latency": "soon"}, "latency: input should be 'delayed' or 'live', not 'soon'"),
        ({**START, "expire_after_s": 0}, "expire_after_s: "),
        (
            {**START, "resource_path": "clip.mp4", "target_fps": 2},
            "target_fps is for sessions that run by themselves; set autostart to true",
        ),
        ({"type": "push_frame", "session_id": "s"}, "frame is missing"),
        (
            {"type": "push_frame", "session_id": "s", "frame": [[0]]},
            "a frame is a numpy array, a PIL image, or the bytes",
        ),
        ({"type": "get_results", "session_id": "s", "cursor": -1}, "cursor: "),
        ({"type": "get_results", "session_id": "s", "max_results": 1001}, "max_results: "),
        ({"type": "list_sessions", "owner": ""}, "owner: "),
    ],
)
def test_each_fault_is_named(request_: Any, fault: str) -> None:
    found = faults(request_)
    assert any(fault in one for one in found), found
    assert sum(map(len, found)) < 5000


def test_all_faults_at_once_and_not_too_many() -> None:
    found = faults({**START, "every_nth": 0, "queue_size": 0, "owner": "", "colour": 1})
    assert len(found) == 4
    many = faults({**PROMPT, "bounding_boxes": [["a", "b", "c", "d"]] * 90})
    assert len(many) == MAX_FAULTS + 1
    assert many[-1] == "and 330 more faults"


@pytest.mark.parametrize("length", [0, 30, 200, 4900, 20_000])
def test_no_password_is_in_any_message(length: int) -> None:
    source = f"rtsp://bob:{'x' * length}hunter2{'y' * length}@cam/x"
    for request in (
        {"type": "start_session", "resource_path": source, "fps": 1},
        {"type": "start_session", "resource_path": [source]},
        {"type": "start_session", "resource_path": "a", "session_id": source},
        {"type": source},
        {"type": "get_session", "session_id": source},
        {**PROMPT, source: 1},
    ):
        with pytest.raises(RequestError) as caught:
            parse_request(request)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None or "hunter2" not in str(caught.value.__cause__)


def test_good_ones_of_the_new_kinds() -> None:
    start = parse_request({**START, "region": [0, 0, 0.5, 1], "owner": "ann", "target_fps": 5})
    assert isinstance(start, StartSession)
    assert (start.options.region, start.options.target_fps) == ((0, 0, 0.5, 1), 5)
    assert start.options.runs_by_itself("rtsp://cam/x")
    assert not start.options.runs_by_itself("clip.mp4")
    assert isinstance(parse_request({"type": "list_sessions"}), ListSessions)
    page = parse_single_request({"type": "get_results", "session_id": "s", "cursor": np.int64(4)})
    assert isinstance(page, GetResults)
    assert page.cursor == 4
    assert isinstance(
        parse_stream_request({"type": "stream_results", "session_id": "s"}), StreamResults
    )
    picture = np.zeros((4, 4, 3), np.uint8)
    for frame in (picture, Image.fromarray(picture), b"\xff\xd8"):
        push = parse_request({"type": "push_frame", "session_id": "s", "frame": frame})
        assert isinstance(push, PushFrame)
        assert push.frame is frame


def test_deep_nesting_is_refused() -> None:
    value: Any = 0
    for _ in range(sys.getrecursionlimit() * 2):
        value = [value]
    for field in ("points", "text", "mask"):
        assert faults({**PROMPT, "obj_id": 1, field: value})
