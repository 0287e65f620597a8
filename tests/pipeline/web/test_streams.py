"""Many readers follow results, each at its own pace."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from maskstream.pipeline.store import ResultEntry, SessionLimits
from maskstream.pipeline.web.tokens import make_token
from tests.pipeline.clips import number_in, numbered_image
from tests.pipeline.frame_results import make_result
from tests.pipeline.web.stack import Stack, start, web_stack


def follow(socket: ClientConnection, session_id: str, cursor: int = 0) -> None:
    socket.send(json.dumps({"action": "follow", "session_id": session_id, "cursor": cursor}))


def messages(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    while True:
        yield json.loads(socket.recv(60))


def publish(stack: Stack, session_id: str, first: int, num: int) -> None:
    for index in range(first, first + num):
        record = make_result(index, (0, 1)).to_record()
        entry = ResultEntry(frame_index=index, epoch=0, step=index, wall_s=0.0, record=record)
        stack.store.publish_result(session_id, entry)


def frames_until(socket: ClientConnection, session_id: str, last: int) -> list[int]:
    found: list[int] = []
    for message in messages(socket):
        if message["session_id"] == session_id and message["kind"] == "frame":
            found.append(message["data"]["frame_index"])
            if found[-1] == last:
                return found
    return found


def test_one_connection_follows_several_sessions(stack: Stack, http: httpx.Client) -> None:
    names = [start(http, "pushed://") for _ in range(3)]
    with connect(stack.url.replace("http", "ws") + "/v1/stream") as socket:
        for name in names:
            follow(socket, name)
            publish(stack, name, 0, 5)
        left = {(name, index) for name in names for index in range(5)}
        for message in messages(socket):
            if message["kind"] == "frame":
                left.remove((message["session_id"], message["data"]["frame_index"]))
            if not left:
                break


def test_a_reader_that_comes_late_catches_up_and_goes_on(stack: Stack, http: httpx.Client) -> None:
    name = start(http, "pushed://")
    with connect(stack.url.replace("http", "ws") + "/v1/stream") as first:
        follow(first, name)
        publish(stack, name, 0, 400)  # more than the tail keeps
        assert frames_until(first, name, 399) == list(range(400))
        with connect(stack.url.replace("http", "ws") + "/v1/stream") as late:
            follow(late, name, cursor=100)
            assert frames_until(late, name, 399) == list(range(100, 400))
            publish(stack, name, 400, 3)
            assert frames_until(late, name, 402) == [400, 401, 402]
            assert frames_until(first, name, 402) == [400, 401, 402]


def test_a_slow_reader_delays_nobody(stack: Stack, http: httpx.Client) -> None:
    name = start(http, "pushed://")
    url = stack.url.replace("http", "ws") + "/v1/stream"
    with connect(url, max_queue=1) as slow, connect(url) as quick:
        follow(slow, name)
        follow(quick, name)
        publish(stack, name, 0, 2000)  # far more than the buffers of a connection take
        assert frames_until(quick, name, 1999) == list(range(2000))
        assert frames_until(slow, name, 1999) == list(range(2000))


def test_many_readers_lose_nothing(stack: Stack, http: httpx.Client) -> None:
    name = start(http, "pushed://")

    def read(number: int) -> list[int]:
        with connect(stack.url.replace("http", "ws") + "/v1/stream", open_timeout=60) as socket:
            follow(socket, name, cursor=number % 7)
            return frames_until(socket, name, 99)

    publish(stack, name, 0, 7)
    with ThreadPoolExecutor(40) as pool:
        readings = [pool.submit(read, number) for number in range(40)]
        publish(stack, name, 7, 93)
        for number, reading in enumerate(readings):
            assert reading.result(120) == list(range(number % 7, 100))


def test_a_reader_can_stop_and_begin_again(stack: Stack, http: httpx.Client) -> None:
    name = start(http, "pushed://")
    with connect(stack.url.replace("http", "ws") + "/v1/stream") as socket:
        follow(socket, name)
        publish(stack, name, 0, 3)
        assert frames_until(socket, name, 2) == [0, 1, 2]
        socket.send(json.dumps({"action": "unfollow", "session_id": name}))
        follow(socket, name, cursor=1)
        assert frames_until(socket, name, 2) == [1, 2]


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ("{", "JSON"),
        ('{"action": "look"}', "action"),
        ('{"action": "follow", "session_id": "none"}', "there is no session"),
        ('{"action": "follow", "session_id": "none", "more": 1}', "more"),
        ("x" * 5000, "4096"),
    ],
)
def test_what_is_wrong_is_said_and_the_connection_stays(stack: Stack, sent: str, says: str) -> None:
    with connect(stack.url.replace("http", "ws") + "/v1/stream") as socket:
        for _ in range(2):
            socket.send(sent)
            message = json.loads(socket.recv(60))
            assert message["kind"] == "error"
            assert says in message["data"]["message"]


def test_a_huge_message_ends_the_connection(stack: Stack) -> None:
    with connect(stack.url.replace("http", "ws") + "/v1/stream") as socket:
        socket.send("x" * 200_000)
        with pytest.raises(ConnectionClosed):
            socket.recv(60)


def test_a_cursor_ahead_of_the_log_is_refused(stack: Stack, http: httpx.Client) -> None:
    name = start(http, "pushed://")
    answer = http.get(f"/v1/sessions/{name}/events", params={"cursor": 10})
    assert answer.status_code == 400
    assert "ahead" in answer.json()["error"]["message"]


def test_dropped_results_are_told() -> None:
    with web_stack(limits=SessionLimits(max_results=50)) as stack, stack.http() as http:
        name = start(http, "pushed://")
        publish(stack, name, 0, 100)
        _is_told_of_missed(stack, name)


def _is_told_of_missed(stack: Stack, name: str) -> None:
    with connect(stack.url.replace("http", "ws") + "/v1/stream") as socket:
        follow(socket, name)
        missed = next(one for one in messages(socket) if one["kind"] in ("missed", "frame"))
        assert (missed["kind"], missed["data"]) == ("missed", {"num_missed": 50})


def test_a_caller_follows_only_so_many_streams() -> None:
    with web_stack(max_streams_per_owner=1) as stack, stack.http() as http:
        name = start(http, "pushed://")
        with http.stream("GET", f"/v1/sessions/{name}/events"):
            assert http.get(f"/v1/sessions/{name}/events").status_code == 429
        url = stack.url.replace("http", "ws") + "/v1/stream"
        while True:  # the server notices that the reader has gone
            try:
                with connect(url):
                    break
            except InvalidStatus:
                continue


def test_a_stranger_opens_no_stream() -> None:
    token, _ = make_token("ann")
    with web_stack(admin_token=token) as stack:
        url = stack.url.replace("http", "ws") + "/v1/stream"
        known = {"authorization": f"Bearer {token}"}
        for headers in ({}, {**known, "origin": "https://evil.example"}):
            with pytest.raises(InvalidStatus), connect(url, additional_headers=headers):
                pass
        with connect(url, additional_headers=known) as socket:
            socket.ping()


def test_a_viewer_gets_the_picture_of_each_result(stack: Stack, http: httpx.Client) -> None:
    name = start(http, "pushed://", latency="live")
    shown: list[int] = []
    with http.stream("GET", f"/v1/sessions/{name}/events", params={"pictures": "true"}) as answer:
        lines = answer.iter_lines()
        for number in range(100):
            http.post(f"/v1/sessions/{name}/frames", content=_png(number))
            data = json.loads(
                next(line for line in lines if line.startswith('data: {"cursor"'))[6:]
            )
            found = http.get(f"/v1/sessions/{name}/pictures/{data['picture']}.jpg")
            if found.status_code == 200:  # it takes a second until the decoder knows of the viewer
                picture = np.asarray(Image.open(io.BytesIO(found.content)))
                assert number_in(picture) == data["frame_index"] == number
                shown.append(number)
            if len(shown) == 5:
                break
            time.sleep(0.06)  # pictures are taken 20 times a second
    assert len(shown) == 5


def test_a_picture_that_is_gone_is_not_found(http: httpx.Client) -> None:
    name = start(http, "pushed://")
    assert http.get(f"/v1/sessions/{name}/pictures/1.jpg").status_code == 404


def _png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(numbered_image(number)).save(buffer, "PNG")
    return buffer.getvalue()
