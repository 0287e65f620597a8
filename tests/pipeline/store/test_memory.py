"""What only the memory store must see to: expiry while somebody waits, and who is woken."""

from __future__ import annotations

import threading
import time

import pytest

from maskstream.core.errors import SessionNotFoundError
from maskstream.pipeline.store import MemoryStore, ResultEntry, ResultPage
from maskstream.pipeline.store.memory_session import MemorySession
from tests.pipeline.store.records import new_session, result
from tests.pipeline.store.servers import eventually

LONG_S = 30.0


def wait_for_result(store: MemoryStore, found: list[ResultEntry]) -> threading.Thread:
    """A thread that waits for the first result of session ``s``; it waits already."""
    reader = threading.Thread(
        target=lambda: found.extend(store.read_results("s", timeout_s=LONG_S).entries)
    )
    reader.start()
    assert eventually(lambda: store._sessions["s"].num_waiting == 1)
    return reader


def test_a_session_that_somebody_waits_for_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    for name in ("s", "other"):
        store.create_session(new_session(name, limits={"expire_after_s": 60.0}))
    found: list[ResultEntry] = []
    reader = wait_for_result(store, found)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert [one.session_id for one in store.list_sessions().sessions] == ["s"]
    store.publish_result("s", result(0))
    reader.join(10)
    assert found == [result(0)]
    assert store.get_session("s").expires_s == pytest.approx(now() + 3660, abs=30)
    monkeypatch.setattr(time, "time", lambda: now() + 7200)
    with pytest.raises(SessionNotFoundError):
        store.get_session("s")


def test_changes_of_other_sessions_wake_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    for name in ("s", "other"):
        store.create_session(new_session(name))
    found: list[ResultEntry] = []
    reader = wait_for_result(store, found)
    looks: list[int] = []
    look = MemorySession.results_after

    def counted(session: MemorySession, cursor: int, count: int) -> ResultPage:
        looks.append(cursor)
        return look(session, cursor, count)

    monkeypatch.setattr(MemorySession, "results_after", counted)
    for index in range(20):
        store.publish_result("other", result(index))
    store.publish_result("s", result(0))
    reader.join(10)
    assert found == [result(0)]
    assert looks == [0]


def test_closing_the_store_lets_those_go_who_wait() -> None:
    store = MemoryStore()
    store.create_session(new_session())
    problems: list[SessionNotFoundError] = []

    def wait() -> None:
        with pytest.raises(SessionNotFoundError) as caught:
            store.wait_for_state("s", [], LONG_S)
        problems.append(caught.value)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert eventually(lambda: store._sessions["s"].num_waiting == 1)
    store.close()
    waiter.join(10)
    assert len(problems) == 1
