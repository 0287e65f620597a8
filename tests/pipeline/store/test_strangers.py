"""What others have written into our keys is named, and disturbs nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis

from maskstream.core.errors import SessionError, StoreError
from maskstream.pipeline.store import Outcome, SessionState, SessionStore
from maskstream.pipeline.store.keys import Keys
from tests.pipeline.store.records import checkpoint, concept, new_session, result
from tests.pipeline.store.servers import raw_client


@pytest.fixture
def raw(server_url: str) -> redis.Redis:
    return raw_client(server_url)


@pytest.fixture
def keys(namespace: str) -> Keys:
    return Keys(namespace)


@pytest.fixture
def filled(remote_store: SessionStore) -> SessionStore:
    """Two sessions with three of everything."""
    for name in ("s", "other"):
        remote_store.create_session(new_session(name))
        for number in range(3):
            remote_store.append_entry(name, concept(f"prompt {number}"))
            remote_store.settle_entry(name, number + 1, Outcome(frame_index=number))
            remote_store.publish_result(name, result(number))
        remote_store.save_checkpoint(name, checkpoint(2))
    return remote_store


def use_all(store: SessionStore, session_id: str) -> None:
    assert store.get_session(session_id).state == "starting"
    assert len(store.read_journal(session_id).entries) == 3
    assert len(store.read_results(session_id).entries) == 3
    assert store.load_checkpoint(session_id) == checkpoint(2)


_BAD_FIELDS: list[tuple[str, bytes | None]] = [
    ("record", b"{"),
    ("record", b"[]"),
    ("record", b'{"owner": 3}'),
    ("record", b"\xff"),
    ("record", b'{"a": NaN}'),
    ("record", b"[" * 100_000),
    ("record", None),
    ("limits", b"{}x"),
    ("limits", b'{"max_results": "many"}'),
    ("counters", b'{"decoded": -1}'),
    ("state", b"dancing"),
    ("state", b"\xff"),
    ("epoch", b"one"),
    ("created_ms", None),
    ("result_step", b"1.5"),
]


@pytest.mark.parametrize(("field", "value"), _BAD_FIELDS)
def test_bad_fields_of_a_session(
    filled: SessionStore, raw: redis.Redis, keys: Keys, field: str, value: bytes | None
) -> None:
    key = keys.session("s")
    raw.hdel(key, field) if value is None else raw.hset(key, field, value)
    with pytest.raises(StoreError, match=key) as caught:
        filled.get_session("s")
    assert caught.value.key == key
    assert caught.value.entry in (field, "record")
    listing = filled.list_sessions()
    assert [one.session_id for one in listing.sessions] == ["other"]
    assert len(listing.unreadable) == 1
    assert key in listing.unreadable[0]
    use_all(filled, "other")
    assert filled.delete_session("s") is True


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("journal_sequence", lambda store: store.append_entry("s", concept())),
        ("num_prompts", lambda store: store.append_entry("s", concept())),
        ("limits", lambda store: store.append_entry("s", concept())),
        ("result_sequence", lambda store: store.publish_result("s", result(9))),
        ("result_epoch", lambda store: store.publish_result("s", result(9))),
        ("limits", lambda store: store.publish_result("s", result(9))),
        ("settled_sequence", lambda store: store.settle_entry("s", 4, Outcome(frame_index=1))),
        ("settled_sequence", lambda store: store.save_checkpoint("s", checkpoint(9))),
        ("writer", lambda store: store.take_over("s")),
        ("epoch", lambda store: store.report("s", epoch=1)),
        ("expire_ms", lambda store: store.publish_result("s", result(9))),
        ("expire_ms", lambda store: store.transition("s", SessionState.RUNNING)),
    ],
)
def test_a_bad_field_stops_a_change_before_it_begins(
    filled: SessionStore,
    raw: redis.Redis,
    keys: Keys,
    field: str,
    call: Callable[[SessionStore], object],
) -> None:
    filled.append_entry("s", concept("not settled"))
    raw.hset(keys.session("s"), field, "rubbish")
    before = snapshot(raw, keys)
    with pytest.raises(StoreError, match=f"field {field} of {keys.session('s')}") as caught:
        call(filled)
    assert (caught.value.key, caught.value.entry) == (keys.session("s"), field)
    assert snapshot(raw, keys) == before


def snapshot(raw: redis.Redis, keys: Keys) -> dict[str, bytes | None]:
    return {name: raw.dump(name) for name in keys.types("s")}


@pytest.mark.parametrize("name", ["journal", "results"])
@pytest.mark.parametrize(
    "fields",
    [
        {"entry": "{", "ms": "1"},
        {"entry": "null", "ms": "1"},
        {"entry": '{"kind": "add_concept"}', "ms": "1"},
        {"entry": '{"frame_index": "1"}', "ms": "1"},
        {"entry": "{}", "ms": "soon"},
        {"hello": "world"},
        {"entry": "{}", "ms": "1", "more": "1"},
    ],
)
def test_bad_entries_of_a_log(
    filled: SessionStore, raw: redis.Redis, keys: Keys, name: str, fields: dict[str, str]
) -> None:
    key = getattr(keys, name)("s")
    raw.xtrim(key, maxlen=0)
    good = raw.xrange(getattr(keys, name)("other"))
    raw.execute_command("XSETID", key, "0-0")
    for number, (_, content) in enumerate(good, start=1):
        raw.xadd(key, fields if number == 2 else content, id=f"{number}-0")
    read = filled.read_journal if name == "journal" else filled.read_results
    page = read("s")
    assert (len(page.entries), page.cursor) == (1, 1)
    with pytest.raises(StoreError, match=f"entry 2-0 of {key}") as caught:
        read("s", page.cursor)
    assert (caught.value.key, caught.value.entry, caught.value.resume_after) == (key, "2-0", 2)
    assert len(read("s", caught.value.resume_after).entries) == 1
    use_all(filled, "other")


def test_an_entry_between_ours(filled: SessionStore, raw: redis.Redis, keys: Keys) -> None:
    raw.xadd(keys.results("s"), {"a": "b"}, id="3-7")
    filled.publish_result("s", result(3))
    page = filled.read_results("s", 2, count=1)
    assert [entry.frame_index for entry in page.entries] == [2]
    assert [entry.frame_index for entry in filled.read_results("s", 3).entries] == [3]
    raw.xdel(keys.results("s"), "3-0")
    with pytest.raises(StoreError, match="entry 3-7") as caught:
        filled.read_results("s", 2)
    assert caught.value.resume_after == 3


def test_entries_ahead_of_ours_do_not_block_the_logs(
    filled: SessionStore, raw: redis.Redis, keys: Keys
) -> None:
    for key in (keys.results("s"), keys.journal("s")):
        raw.xadd(key, {"hello": "world"})
    assert filled.publish_result("s", result(3)) == 4
    assert filled.append_entry("s", concept("mine")).sequence == 4
    assert filled.publish_result("s", result(4)) == 5
    assert [entry.frame_index for entry in filled.read_results("s").entries] == [0, 1, 2, 3, 4]
    assert filled.read_journal("s", 3).entries[0].payload == {"text": "mine"}
    filled.settle_entry("s", 4, Outcome(frame_index=4))


def test_an_unreadable_prompt_is_settled_as_rejected(
    filled: SessionStore, raw: redis.Redis, keys: Keys
) -> None:
    filled.append_entry("s", concept("a"))
    raw.xdel(keys.journal("s"), "4-0")
    with pytest.raises(SessionError, match="has no entry 4"):
        filled.wait_settled("s", 4, timeout_s=0)
    filled.append_entry("s", concept("b"))
    assert filled.settle_entry("s", 5, Outcome(frame_index=1)) == Outcome(frame_index=1)


@pytest.mark.parametrize("value", ["{", '{"obj_id": 1}', "3"])
def test_bad_outcomes(filled: SessionStore, raw: redis.Redis, keys: Keys, value: str) -> None:
    raw.hset(keys.outcomes("s"), "2", value)
    with pytest.raises(StoreError, match=f"entry 2 of {keys.outcomes('s')}"):
        filled.wait_settled("s", 2, timeout_s=0)
    use_all(filled, "other")


@pytest.mark.parametrize("field", ["blob", "meta"])
def test_a_damaged_checkpoint(
    filled: SessionStore, raw: redis.Redis, keys: Keys, field: str
) -> None:
    raw.hset(keys.checkpoint("s"), field, b'{"frame_index": 2}')
    with pytest.raises(StoreError, match=f"of {keys.checkpoint('s')}"):
        filled.load_checkpoint("s")
    raw.hdel(keys.checkpoint("s"), field)
    with pytest.raises(StoreError, match=f"entry {field} of {keys.checkpoint('s')}"):
        filled.load_checkpoint("s")
    assert filled.save_checkpoint("s", checkpoint(3)) is True
    assert filled.load_checkpoint("s") == checkpoint(3)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("session", lambda store: store.get_session("s")),
        ("journal", lambda store: store.append_entry("s", concept())),
        ("results", lambda store: store.read_results("s")),
        ("checkpoint", lambda store: store.load_checkpoint("s")),
        ("outcomes", lambda store: store.read_journal("s")),
    ],
)
def test_keys_of_other_types(
    filled: SessionStore,
    raw: redis.Redis,
    keys: Keys,
    name: str,
    call: Callable[[SessionStore], object],
) -> None:
    key = getattr(keys, name)("s")
    raw.delete(key)
    raw.set(key, "hello")
    with pytest.raises(StoreError, match=f"{key} is a string where maskstream has a") as caught:
        call(filled)
    assert caught.value.key == key
    use_all(filled, "other")
    assert filled.delete_session("s") is True
    assert filled.create_session(new_session()).state == "starting"


def test_strange_work_is_passed_over(
    remote_store: SessionStore, raw: redis.Redis, keys: Keys
) -> None:
    for fields in ({"hello": "world"}, {"session": "nobody"}, {"session": b"\xff"}):
        raw.xadd(keys.work, fields)
    remote_store.create_session(new_session())
    raw.xadd(keys.work, {"session": "s"})
    assert remote_store.claim_session("runtime", lease_s=30) == "s"
    assert remote_store.claim_session("runtime", lease_s=30) is None
    assert raw.xlen(keys.work) == 1


def test_strange_names_in_the_list(filled: SessionStore, raw: redis.Redis, keys: Keys) -> None:
    raw.zadd(keys.sessions, {b"\xff": 1e15, b"nobody": 1e15})
    listing = filled.list_sessions()
    assert {one.session_id for one in listing.sessions} == {"s", "other"}
    assert len(listing.unreadable) == 1


def test_everything_expires_and_goes(
    filled: SessionStore, raw: redis.Redis, namespace: str, keys: Keys
) -> None:
    of_service = set(keys.types("s")) - set(list(keys.types("s"))[:10]) | {keys.incarnation}
    names = {name.decode() for name in raw.scan_iter(f"{namespace}:*")} - of_service
    assert {f"{namespace}:{kind}:s" for kind in ("session", "journal", "results")} < names
    for name in names:
        assert 0 < raw.pttl(name) <= 3_600_000, name
        assert raw.type(name).decode() == (keys.types("s") | keys.types("other"))[name]
    filled.delete_session("s")
    filled.delete_session("other")
    left = {name.decode() for name in raw.scan_iter(f"{namespace}:*")}
    assert left <= {keys.incarnation, keys.work}
    assert raw.xlen(keys.work) == 0


def test_stored_json_is_plain(filled: SessionStore, raw: redis.Redis, keys: Keys) -> None:
    ((_, fields),) = raw.xrange(keys.results("s"), count=1)
    assert json.loads(fields[b"entry"]) == {
        "frame_index": 0,
        "epoch": 0,
        "step": 0,
        "kind": "frame",
        "wall_s": 12.5,
        "gap_s": 0.0,
        "record": {},
    }


def test_a_state_that_is_none_stops_a_change(
    filled: SessionStore, raw: redis.Redis, keys: Keys
) -> None:
    for value in (b"\x80", b"dancing"):
        raw.hset(keys.session("s"), "state", value)
        with pytest.raises(StoreError, match=f"entry state of {keys.session('s')}") as caught:
            filled.append_entry("s", concept())
        assert (caught.value.key, caught.value.entry) == (keys.session("s"), "state")
