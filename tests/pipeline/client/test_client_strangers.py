"""What others write into the server, and what must never be written there."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from maskstream.core.errors import (
    ConfigError,
    InputError,
    MaskstreamError,
    RequestError,
    SourceError,
    StoreError,
)
from maskstream.pipeline.api.parsing import parse_request
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import SessionStore, open_store
from maskstream.pipeline.store.redis_store import RedisStore
from tests.pipeline.asking import ask, start
from tests.pipeline.clips import numbered_image, write_numbered_clip
from tests.pipeline.hostile import REQUESTS
from tests.pipeline.ports import free_port
from tests.pipeline.scripted import serving
from tests.pipeline.store.servers import raw_client

NAMESPACE = "maskstream"
PASSWORD = "hunter2"


@pytest.fixture
def store() -> Iterator[SessionStore]:
    store = open_store()
    yield store
    store.close()


@pytest.fixture
def client(store: SessionStore) -> Iterator[Client]:
    with serving(store):
        yield Client(store, start_timeout_s=20, answer_timeout_s=20)


def everything(store: SessionStore) -> bytes:
    """All that the server holds, keys and values."""
    assert store.url is not None
    server = raw_client(store.url)
    dumped = []
    for key in server.scan_iter("*"):
        dumped += [key, server.dump(key) or b""]
        kind = server.type(key)
        if kind == b"hash":
            dumped.append(repr(server.hgetall(key)).encode())
        elif kind == b"stream":
            dumped.append(repr(server.xrange(key)).encode())
        elif kind == b"string":
            dumped.append(server.get(key) or b"")
    return b"\n".join(dumped)


def test_an_unreadable_result_is_told_and_passed(
    client: Client, store: SessionStore, tmp_path: Path
) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 6)
    session_id, other = start(client, str(clip), latency="live"), start(client, str(clip))
    assert store.url is not None
    stranger = raw_client(store.url)
    for one in (session_id, other):
        ask(client, "add_prompt", one, frame_index=0, text="red circle")
        list(client.handle_stream_request({"type": "propagate_in_video", "session_id": one}))
    key = f"{NAMESPACE}:results:{session_id}"
    rows: Any = stranger.xrange(key)
    unreadable: Any = {"entry": "{", "ms": "1"}
    stranger.delete(key)
    for number, (name, fields) in enumerate(rows):
        stranger.xadd(key, unreadable if number == 2 else fields, id=name)
    page = ask(client, "get_results", session_id)
    assert [one["frame_index"] for one in page["results"]] == [0, 1]
    with pytest.raises(StoreError, match=f"entry 3-0 of {key} is not what maskstream") as caught:
        ask(client, "get_results", session_id, cursor=page["cursor"])
    rest = ask(client, "get_results", session_id, cursor=caught.value.resume_after)
    assert [one["frame_index"] for one in rest["results"]] == [3, 4, 5]
    assert len(ask(client, "get_results", other)["results"]) == 6


def test_an_unreadable_session_does_not_hide_the_others(
    client: Client, store: SessionStore
) -> None:
    broken, good = start(client, "pushed://"), start(client, "pushed://", latency="live")
    assert store.url is not None
    raw_client(store.url).hset(f"{NAMESPACE}:session:{broken}", "limits", "[]")
    listing = client.handle_request({"type": "list_sessions"})
    assert [one["session_id"] for one in listing["sessions"]] == [good]
    assert len(listing["unreadable"]) == 1
    assert f"entry limits of {NAMESPACE}:session:{broken}" in listing["unreadable"][0]
    with pytest.raises(StoreError, match="entry limits of"):
        ask(client, "get_session", broken)
    ask(client, "push_frame", good, frame=numbered_image(1), is_last=True)
    followed = {"type": "stream_results", "session_id": good}
    assert len(list(client.handle_stream_request(followed))) == 1


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUESTS)
def test_malformed_requests_by_the_hundred_disturb_nothing(
    client: Client, store: SessionStore, request: dict[Any, Any]
) -> None:
    session_ids = [one.session_id for one in store.list_sessions().sessions]
    session_id = session_ids[0] if session_ids else start(client, "pushed://", latency="live")
    request = {"session_id": session_id} | request
    with suppress(RequestError):
        parse_request(request)
        return  # well-formed by chance
    before = store.get_session(session_id).model_copy(update={"expires_s": 0.0})
    for door in (client.handle_request, client.handle_stream_request):
        with pytest.raises(RequestError):
            door(request)
    after = store.get_session(session_id).model_copy(update={"expires_s": 0.0})
    assert (after.state, after.journal_sequence, after.limits) == (
        before.state,
        before.journal_sequence,
        before.limits,
    )
    assert len(store.list_sessions().sessions) == 1
    # The session still works.
    answer = ask(client, "push_frame", session_id, frame=numbered_image(1))
    found = ask(client, "get_results", session_id, cursor=answer["frame_index"], timeout_s=20)
    assert [one["frame_index"] for one in found["results"]] == [answer["frame_index"]]


def test_credentials_are_nowhere(
    client: Client, store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = f"rtsp://bob:{PASSWORD}@127.0.0.1:{free_port()}/x?token={PASSWORD}"
    session_id = start(client, source, max_reconnect_s=60.0, owner="ann")
    answer = ask(client, "add_prompt", session_id, frame_index=0, text=f"see {source}")
    assert answer["prompt_id"] == 0
    told = [
        json.dumps(client.handle_request({"type": "list_sessions"})),
        json.dumps(ask(client, "get_session", session_id)),
        repr(client),
        repr(store),
    ]
    with pytest.raises(SourceError, match=r"127\.0\.0\.1") as caught:
        start(client, source, max_reconnect_s=0.05)
    told += [str(caught.value), repr(caught.value), caplog.text]
    told.append(json.dumps(ask(client, "get_session", session_id)))
    assert "rtsp://***@127.0.0.1" in told[1]
    for text in told:
        assert PASSWORD not in text
    held = everything(store)
    assert b"rtsp://***@127.0.0.1" in held
    assert PASSWORD.encode() not in held


def test_credentials_need_a_key_to_be_sealed_with(store: SessionStore) -> None:
    assert store.url is not None
    bare = RedisStore(store.url, secret_key=None)
    source = f"rtsp://bob:{PASSWORD}@cam/x"
    with pytest.raises(ConfigError, match="MASKSTREAM_SECRET_KEY") as caught:
        start(Client(bare), source)
    assert PASSWORD not in str(caught.value)
    assert PASSWORD.encode() not in everything(store)
    bare.close()


def test_sources_that_are_not_allowed(client: Client, store: SessionStore, tmp_path: Path) -> None:
    for source, complaint in (
        ("concat:a.mp4|b.mp4", "concat"),
        ("ftp://cam/x.mp4", "'ftp' is not allowed"),
        ("data:video/mp4;base64,AAAA", "data"),
        (str(tmp_path / "none"), "does not exist"),
    ):
        with pytest.raises(MaskstreamError, match=complaint) as caught:
            start(client, source, autostart=True)
        assert isinstance(caught.value, InputError | SourceError)
    assert store.list_sessions().sessions == ()
