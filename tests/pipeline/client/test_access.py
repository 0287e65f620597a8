"""A client that acts for one owner, and one that acts for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from maskstream.core.errors import RequestError, SessionNotFoundError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import MemoryStore, NewSession, SessionStore
from tests.pipeline.scripted import serving

FRAME = np.zeros((8, 8, 3), np.uint8)
USES: list[dict[str, Any]] = [
    {"type": "add_prompt", "frame_index": 0, "text": "star"},
    {"type": "remove_object", "obj_id": 0},
    {"type": "remove_prompt", "prompt_id": 0},
    {"type": "reset_session"},
    {"type": "close_session"},
    {"type": "cancel_propagation"},
    {"type": "pause_session"},
    {"type": "resume_session"},
    {"type": "get_session"},
    {"type": "get_results"},
    {"type": "push_frame", "frame": FRAME},
]
STREAMS: list[dict[str, Any]] = [{"type": "propagate_in_video"}, {"type": "stream_results"}]


@pytest.fixture
def store() -> Iterator[SessionStore]:
    with MemoryStore() as store, serving(store):
        yield store


def start(client: Client, session_id: str, **fields: Any) -> None:
    request = {"type": "start_session", "resource_path": "pushed://", "session_id": session_id}
    client.handle_request(request | fields)


def listed(client: Client, **fields: Any) -> list[str]:
    listing = client.handle_request({"type": "list_sessions", **fields})
    return [one["session_id"] for one in listing["sessions"]]


def test_it_sees_and_uses_its_owners_sessions_only(store: SessionStore) -> None:
    ann, bob, anybody = Client(store, owner="ann"), Client(store, owner="bob"), Client(store)
    start(ann, "a")
    start(bob, "b", owner="bob")
    assert store.get_session("a").owner == "ann"
    assert (listed(ann), listed(bob, owner="bob"), listed(anybody)) == (["a"], ["b"], ["a", "b"])
    with pytest.raises(SessionNotFoundError) as unknown:
        anybody.handle_request({"type": "get_session", "session_id": "c"})
    for use in USES:
        with pytest.raises(SessionNotFoundError) as foreign:
            bob.handle_request(use | {"session_id": "a"})
        # Nothing tells it from a session that does not exist.
        assert str(foreign.value) == str(unknown.value).replace("'c'", "'a'")
    for use in STREAMS:
        with pytest.raises(SessionNotFoundError):
            bob.handle_stream_request(use | {"session_id": "a"})
    assert store.get_session("a").journal_sequence == 0
    for client in (ann, anybody):
        assert client.handle_request({"type": "get_session", "session_id": "a"})["owner"] == "ann"
    ann.handle_request({"type": "add_prompt", "session_id": "a", "frame_index": 0, "text": "star"})


def test_it_cannot_speak_for_another(store: SessionStore) -> None:
    ann = Client(store, owner="ann")
    with pytest.raises(RequestError, match="owner is 'bob'; this client starts and lists"):
        start(ann, "x", owner="bob")
    with pytest.raises(RequestError, match="owner is 'bob'"):
        listed(ann, owner="bob")
    assert store.list_sessions().sessions == ()


def test_a_session_whose_options_cannot_be_read_is_named(store: SessionStore) -> None:
    client = Client(store)
    start(client, "good")
    bad = NewSession(source="pushed://", session_id="bad", options={"latency": "yesterday"})
    store.create_session(bad)
    listing = client.handle_request({"type": "list_sessions"})
    assert [one["session_id"] for one in listing["sessions"]] == ["good"]
    [fault] = listing["unreadable"]
    assert fault.startswith("session bad: the session's options cannot be used: latency")
