"""The contract of every store: frames that a client pushes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from maskstream.core.errors import InputError, SessionError, SessionLimitError, StoreError
from maskstream.pipeline.store import PushedPage, SessionState, SessionStore
from tests.pipeline.store.records import new_session
from tests.pipeline.store.servers import raw_client

LONG_S = 30.0


def start(store: SessionStore, **limits: Any) -> None:
    store.create_session(new_session(source="pushed://", limits=limits))


def sequences(page: PushedPage) -> list[int]:
    return [frame.sequence for frame in page.frames]


def test_frames_come_in_order_and_as_they_were(store: SessionStore) -> None:
    start(store)
    blobs = [bytes(range(256)) * 9, b"", b"\0\xff\r\n", b"x"]
    for index, blob in enumerate(blobs):
        receipt = store.push_frame("s", blob, None if index == 1 else index / 3)
        assert (receipt.sequence, receipt.num_waiting, receipt.num_dropped) == (
            index + 1,
            index + 1,
            0,
        )
    page = store.take_frames("s", count=3)
    assert [frame.blob for frame in page.frames] == blobs[:3]
    assert [frame.pts_s for frame in page.frames] == [0.0, None, 2 / 3]
    assert page.cursor == 3
    assert sequences(store.take_frames("s", page.cursor)) == [4]
    assert page.frames[0].pushed_s <= page.frames[2].pushed_s
    assert store.push_frame("s", b"").num_waiting == 1


def test_the_oldest_that_waits_is_dropped_and_counted(store: SessionStore) -> None:
    start(store, max_waiting_frames=3)
    receipts = [store.push_frame("s", b"%d" % index) for index in range(5)]
    assert [receipt.num_dropped for receipt in receipts] == [0, 0, 0, 1, 2]
    assert [receipt.num_waiting for receipt in receipts] == [1, 2, 3, 3, 3]
    page = store.take_frames("s", count=2)
    assert (sequences(page), page.num_dropped) == ([3, 4], 2)
    # Two are being worked on and one waits: two more fit.
    assert [store.push_frame("s", b"").num_dropped for _ in range(3)] == [2, 2, 3]
    assert sequences(store.take_frames("s", 4)) == [6, 7, 8]


def test_what_was_taken_can_be_taken_again_until_it_is_done(store: SessionStore) -> None:
    start(store)
    for _ in range(6):
        store.push_frame("s", b"")
    store.take_frames("s", 0, count=3)
    assert sequences(store.take_frames("s", 3, done=1, count=1)) == [4]
    assert sequences(store.take_frames("s", 0, count=3)) == [2, 3, 4]
    assert store.push_frame("s", b"").num_waiting == 3
    assert sequences(store.take_frames("s", 4)) == [5, 6, 7]
    assert sequences(store.take_frames("s", 0)) == [5, 6, 7]


def test_frames_taken_and_never_done_are_bounded(store: SessionStore) -> None:
    start(store)
    for index in range(300):
        store.push_frame("s", b"")
        assert sequences(store.take_frames("s", index, done=0)) == [index + 1]
    again = sequences(store.take_frames("s", 0, done=0, count=1000))
    assert again == list(range(300 - 256, 301))


def test_the_end(store: SessionStore) -> None:
    start(store)
    store.push_frame("s", b"")
    store.push_frame("s", b"")
    store.finish_frames("s")
    store.finish_frames("s")
    with pytest.raises(SessionError, match="takes no more frames"):
        store.push_frame("s", b"")
    page = store.take_frames("s", count=2)
    assert (sequences(page), page.is_end) == ([1, 2], False)
    page = store.take_frames("s", 2, timeout_s=LONG_S)
    assert (sequences(page), page.is_end) == ([], True)
    assert store.take_frames("s", 1, count=2).is_end is True


def test_a_taker_waits_and_gives_up(store: SessionStore) -> None:
    start(store)
    assert store.take_frames("s", timeout_s=0.02).frames == ()
    found: list[int] = []
    taker = threading.Thread(
        target=lambda: found.extend(sequences(store.take_frames("s", timeout_s=LONG_S)))
    )
    taker.start()
    store.push_frame("s", b"")
    taker.join(10)
    assert found == [1]


def test_what_is_refused(store: SessionStore) -> None:
    store.create_session(new_session("file"))
    for call in (
        lambda: store.push_frame("file", b""),
        lambda: store.finish_frames("file"),
        lambda: store.take_frames("file"),
    ):
        with pytest.raises(SessionError, match=r"takes no pushed frames.*pushed://"):
            call()
    start(store, max_frame_bytes=100)
    with pytest.raises(SessionLimitError, match="max_frame_bytes, which is 100"):
        store.push_frame("s", bytes(101))
    with pytest.raises(InputError, match="finite"):
        store.push_frame("s", b"", float("nan"))
    with pytest.raises(InputError, match="cursor 1 is ahead of the pushed frames"):
        store.take_frames("s", 1)
    store.transition("s", SessionState.DRAINING)
    with pytest.raises(SessionError, match="is draining and cannot take frames"):
        store.push_frame("s", b"")


def test_frames_go_with_their_session(store: SessionStore) -> None:
    start(store)
    store.push_frame("s", b"")
    store.delete_session("s")
    start(store)
    assert store.take_frames("s").frames == ()
    assert store.push_frame("s", b"").sequence == 1


def test_what_a_stranger_writes_is_named_and_passed(
    remote_store: SessionStore, server_url: str, namespace: str
) -> None:
    start(remote_store)
    remote_store.push_frame("s", b"")
    stranger = raw_client(server_url)
    key = f"{namespace}:frames:s"
    stranger.xadd(key, {"blob": b"?"}, id="2-0")
    assert sequences(remote_store.take_frames("s")) == [1]
    with pytest.raises(StoreError, match=f"entry 2-0 of {key}") as caught:
        remote_store.take_frames("s", 1)
    assert caught.value.resume_after == 2
    # Its id is taken: what waited is dropped for the frames that follow.
    receipt = remote_store.push_frame("s", b"new")
    assert receipt.sequence == 2
    assert [frame.blob for frame in remote_store.take_frames("s", 1).frames] == [b"new"]
    stranger.hset(f"{namespace}:pushed:s", "waiting", "many")
    with pytest.raises(StoreError, match="field waiting of"):
        remote_store.push_frame("s", b"")
