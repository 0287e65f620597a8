"""Sessions over HTTP, with a real server, a real client library, and the real session loop."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from maskstream.pipeline.client.client import Client
from tests.pipeline.clips import numbered_image, write_numbered_clip
from tests.pipeline.web.stack import Stack, start

NUM_FRAMES = 12

# pycocotools is older than numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", NUM_FRAMES)


def events(http: httpx.Client, session_id: str, **query: Any) -> list[tuple[str, Any]]:
    """All events until the stream ends."""
    found, kind = [], ""
    with http.stream("GET", f"/v1/sessions/{session_id}/events", params=query) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                found.append((kind, json.loads(line[6:])))
    return found


def test_a_session_from_its_start_to_its_end(http: httpx.Client, clip: Path) -> None:
    session_id = start(http, clip)
    prompts = f"/v1/sessions/{session_id}/prompts"
    answer = http.post(prompts, json={"frame_index": 0, "text": "dog"}).json()
    assert answer["prompt_id"] == 0
    assert answer["outputs"]["out_labels"] == ["dog"]
    run = http.post(f"/v1/sessions/{session_id}/propagate", json={}).json()
    results: list[Any] = []
    cursor = run["cursor"]
    while len(results) < NUM_FRAMES:
        query = {"cursor": cursor, "timeout_s": 10}
        page = http.get(f"/v1/sessions/{session_id}/results", params=query).json()
        results, cursor = results + page["results"], page["cursor"]
    assert [one["frame_index"] for one in results] == list(range(NUM_FRAMES))
    assert http.get(f"/v1/sessions/{session_id}").json()["frames"]["processed"] == NUM_FRAMES
    assert http.delete(f"/v1/sessions/{session_id}").json() == {"is_success": True}
    assert http.get(f"/v1/sessions/{session_id}").status_code == 404


def test_a_mask_is_the_one_that_the_client_gets(
    stack: Stack, http: httpx.Client, clip: Path
) -> None:
    session_id = start(http, clip, autostart=True, latency="live", max_frames=1000, loop=True)
    http.post(f"/v1/sessions/{session_id}/prompts", json={"frame_index": 0, "text": "dog"})
    http.post(f"/v1/sessions/{session_id}/cancel")
    frames = [data for kind, data in events(http, session_id) if kind == "frame"]
    request = {"type": "get_results", "session_id": session_id, "max_results": 1000}
    results = Client(stack.store).handle_request(request)["results"]
    assert len(frames) == len(results) > 0
    for frame, result in zip(frames, results, strict=True):
        for row, thing in enumerate(frame["result"]["objects"]):
            mask = coco_mask.decode(thing["segmentation"])
            assert (mask == result["outputs"]["out_binary_masks"][row]).all()


def test_events_go_on_behind_the_last_one(http: httpx.Client, clip: Path) -> None:
    session_id = start(http, clip, autostart=True, latency="live")
    frames = [data for kind, data in events(http, session_id) if kind == "frame"]
    assert [one["frame_index"] for one in frames] == list(range(NUM_FRAMES))
    cursor = frames[4]["cursor"]
    rest = [data for kind, data in events(http, session_id, cursor=cursor) if kind == "frame"]
    assert rest == frames[5:]
    headers = {"last-event-id": str(cursor)}
    answer = http.get(f"/v1/sessions/{session_id}/events", headers=headers)
    assert answer.text.startswith(f"event: frame\nid: {frames[5]['cursor']}\n")


def test_the_end_says_what_became_of_the_session(http: httpx.Client, clip: Path) -> None:
    session_id = start(http, clip, autostart=True, max_frames=3)
    kind, data = events(http, session_id)[-1]
    assert (kind, data["frames"]["processed"]) == ("end", 3)


def test_frames_are_pushed_as_pictures(http: httpx.Client) -> None:
    session_id = start(http, "pushed://", latency="live", queue_size=8)
    for number in range(4):
        answer = http.post(f"/v1/sessions/{session_id}/frames", content=_png(number))
        assert answer.json()["frame_index"] == number
    request = {"type": "push_frame", "session_id": session_id, "is_last": True}
    request["frame"] = base64.b64encode(_png(4)).decode()
    assert http.post("/v1/requests", json=request).json()["frame_index"] == 4
    frames = [data["frame_index"] for kind, data in events(http, session_id) if kind == "frame"]
    assert frames == list(range(5))


def test_the_session_api_as_it_is(http: httpx.Client, clip: Path) -> None:
    start_it = {"type": "start_session", "resource_path": str(clip)}
    session_id = http.post("/v1/requests", json=start_it).json()["session_id"]
    prompt = {"type": "add_prompt", "session_id": session_id, "frame_index": 0, "text": "cat"}
    assert http.post("/v1/requests", json=prompt).json()["outputs"]["out_labels"] == ["cat"]
    request = {"type": "propagate_in_video", "session_id": session_id}
    with http.stream("POST", "/v1/requests", json=request) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert [line["frame_index"] for line in lines] == list(range(NUM_FRAMES))
    assert lines[0]["outputs"]["out_binary_masks"][0]["size"] == [48, 80]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/v1/sessions", b"{", 400, "RequestError"),
        ("POST", "/v1/sessions", b"[1]", 400, "RequestError"),
        ("POST", "/v1/sessions", b'{"resource_path": 3}', 400, "RequestError"),
        ("POST", "/v1/sessions", b'{"resource_path": "/nowhere.mp4"}', 422, "SourceError"),
        ("POST", "/v1/requests", b'{"type": "no such"}', 400, "RequestError"),
        ("POST", "/v1/requests", b'{"type": "push_frame", "frame": "?"}', 400, "RequestError"),
        ("POST", "/v1/requests", b"[" * 50_000, 400, "RequestError"),
        ("GET", "/v1/sessions/none", b"", 404, "SessionNotFoundError"),
        ("GET", "/v1/sessions/none/events", b"", 404, "SessionNotFoundError"),
        ("GET", "/v1/sessions/none/results?cursor=-1", b"", 400, "RequestError"),
        ("GET", "/v1/sessions/a%20b", b"", 400, "RequestError"),
        ("GET", "/v1/nowhere", b"", 404, "HttpError"),
        ("PATCH", "/v1/sessions", b"", 405, "HttpError"),
    ],
)
def test_what_is_wrong_is_said(
    http: httpx.Client, method: str, path: str, body: bytes, status: int, kind: str
) -> None:
    answer = http.request(method, path, content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (status, kind)
    assert error["request_id"] == answer.headers["x-request-id"]


def test_every_fault_of_a_request_is_named(http: httpx.Client, clip: Path) -> None:
    session_id = start(http, clip)
    answer = http.post(f"/v1/sessions/{session_id}/prompts", json={"frame_index": -1, "txt": "dog"})
    assert len(answer.json()["error"]["faults"]) >= 2


def test_the_description_names_every_route(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()
    assert "/v1/sessions/{session_id}/prompts" in described["paths"]
    body = described["paths"]["/v1/sessions"]["post"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]
    assert "resource_path" in fields
    assert "type" not in fields


def _png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(numbered_image(number)).save(buffer, "PNG")
    return buffer.getvalue()
