"""The contract of every store: the journal of prompts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from maskstream.core.errors import InputError, SessionError, SessionLimitError
from maskstream.pipeline.store import JournalEntry, NewEntry, Outcome, SessionState, SessionStore
from tests.pipeline.store.records import concept, new_session

LONG_S = 30.0


def texts(store: SessionStore, session_id: str = "s") -> list[str]:
    return [entry.payload["text"] for entry in store.read_journal(session_id, count=1000).entries]


def test_entries_come_back_in_order(store: SessionStore) -> None:
    store.create_session(new_session())
    kinds = ["add_concept", "add_object", "remove_prompt", "remove_object", "pause", "resume"]
    for number, kind in enumerate(kinds, start=1):
        new = NewEntry(kind=kind, payload={"n": number, "tuple": (1, 2)}, client_id="me")
        entry = store.append_entry("s", new)
        assert (entry.sequence, entry.kind, entry.client_id) == (number, kind, "me")
        assert entry.payload == {"n": number, "tuple": [1, 2]}
        assert entry.outcome is None
    first = store.read_journal("s", count=4)
    rest = store.read_journal("s", after=first.cursor)
    assert [entry.kind for entry in first.entries + rest.entries] == kinds
    assert (first.cursor, rest.cursor) == (4, 6)
    assert store.read_journal("s", after=6).entries == ()
    record = store.get_session("s")
    assert (record.journal_sequence, record.num_prompts, record.settled_sequence) == (6, 2, 0)


def test_a_repeated_request_is_one_entry(store: SessionStore) -> None:
    store.create_session(new_session(limits={"max_prompts": 1}))
    entry = store.append_entry("s", concept(request_id="r"))
    assert store.append_entry("s", concept(request_id="r")) == entry
    store.transition("s", SessionState.DRAINING)
    assert store.append_entry("s", concept(request_id="r")) == entry
    assert store.get_session("s").journal_sequence == 1


def test_clients_at_once(store: SessionStore) -> None:
    store.create_session(new_session())
    names = [f"client {client} prompt {number}" for client in range(6) for number in range(8)]
    with ThreadPoolExecutor(6) as pool:
        accepted = list(pool.map(lambda name: store.append_entry("s", concept(name)), names))
    assert sorted(entry.sequence for entry in accepted) == list(range(1, len(names) + 1))
    by_sequence = sorted(accepted, key=lambda entry: entry.sequence)
    assert texts(store) == [entry.payload["text"] for entry in by_sequence]
    for client in range(6):
        mine = [entry for entry in by_sequence if f"client {client} " in entry.payload["text"]]
        assert len(mine) == 8


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"max_prompts": 2}, "max_prompts, which is 2"),
        ({"max_journal_entries": 2}, "max_journal_entries"),
        ({"max_journal_bytes": 300}, "max_journal_bytes"),
        ({"max_prompt_bytes": 150}, "max_prompt_bytes"),
    ],
)
def test_prompts_over_a_limit_are_refused(
    store: SessionStore, limits: dict[str, int], name: str
) -> None:
    store.create_session(new_session(limits=limits))
    store.append_entry("s", concept("a"))
    store.append_entry("s", concept("b"))
    with pytest.raises(SessionLimitError, match=name):
        store.append_entry("s", concept("c" * 100))
    assert texts(store) == ["a", "b"]
    assert store.get_session("s").num_prompts == 2


def test_a_reset_makes_room_for_prompts(store: SessionStore) -> None:
    store.create_session(new_session(limits={"max_prompts": 1}))
    store.append_entry("s", concept())
    assert store.append_entry("s", NewEntry(kind="pause")).sequence == 2
    store.append_entry("s", NewEntry(kind="reset"))
    assert store.append_entry("s", concept()).sequence == 4


@pytest.mark.parametrize("state", [SessionState.DRAINING, SessionState.FAILED])
def test_a_session_on_its_way_out_takes_no_prompts(
    store: SessionStore, state: SessionState
) -> None:
    store.create_session(new_session())
    store.transition("s", state)
    with pytest.raises(SessionError, match=f"is {state} and cannot take prompts"):
        store.append_entry("s", concept())


def test_payloads_must_be_json(store: SessionStore) -> None:
    store.create_session(new_session())
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    for value in (object(), float("inf"), {1, 2}, deep):
        with pytest.raises(InputError):
            store.append_entry("s", concept(payload={"value": value}))
    assert store.get_session("s").journal_sequence == 0


def test_outcomes_reach_the_client(store: SessionStore) -> None:
    store.create_session(new_session())
    found: list[JournalEntry] = []
    sequences = [store.append_entry("s", concept(name)).sequence for name in ("a", "b")]
    waiters = [
        threading.Thread(target=lambda n=n: found.append(store.wait_settled("s", n, LONG_S)))
        for n in sequences
    ]
    for waiter in waiters:
        waiter.start()
    assert store.wait_settled("s", 1, timeout_s=0).outcome is None
    applied = Outcome(frame_index=7, detail={"prompt_id": 0})
    rejected = Outcome(rejection="no such object")
    assert store.settle_entry("s", 1, applied) == applied
    assert store.settle_entry("s", 2, rejected) == rejected
    for waiter in waiters:
        waiter.join(10)
    assert {entry.sequence: entry.outcome for entry in found} == {1: applied, 2: rejected}
    assert [e.outcome for e in store.read_journal("s").entries] == [applied, rejected]
    assert store.get_session("s").settled_sequence == 2


def test_an_entry_is_settled_once_and_in_order(store: SessionStore) -> None:
    store.create_session(new_session())
    for name in ("a", "b", "c"):
        store.append_entry("s", concept(name))
    with pytest.raises(SessionError, match="entry 2 of session s cannot be settled before entry 1"):
        store.settle_entry("s", 2, Outcome(frame_index=1))
    first = Outcome(frame_index=1)
    store.settle_entry("s", 1, first)
    assert store.settle_entry("s", 1, Outcome(frame_index=99)) == first
    for sequence in (0, 4, -1):
        with pytest.raises(SessionError, match="has no entry"):
            store.settle_entry("s", sequence, first)
        with pytest.raises(SessionError, match="has no entry"):
            store.wait_settled("s", sequence, timeout_s=0)
    assert store.get_session("s").settled_sequence == 1


def test_outcomes_are_one_or_the_other() -> None:
    for fields in ({}, {"frame_index": 1, "rejection": "no"}):
        with pytest.raises(ValueError, match="either a frame_index or a rejection"):
            Outcome(**fields)


def test_the_tracker_waits_for_prompts(store: SessionStore) -> None:
    store.create_session(new_session())
    found: list[JournalEntry] = []
    reader = threading.Thread(
        target=lambda: found.extend(store.read_journal("s", timeout_s=LONG_S).entries)
    )
    reader.start()
    entry = store.append_entry("s", concept())
    reader.join(10)
    assert found == [entry]
    assert store.read_journal("s", after=1, timeout_s=0.02).entries == ()


@pytest.mark.parametrize(("after", "count"), [(-1, 1), (0, 0), (2**60, 1), (0, 10**9), (1, 1)])
def test_stretches_that_make_no_sense(store: SessionStore, after: int, count: int) -> None:
    store.create_session(new_session())
    with pytest.raises(InputError, match="cursor"):
        store.read_journal("s", after, count=count)
    with pytest.raises(InputError, match="cursor"):
        store.read_results("s", after, count=count)
