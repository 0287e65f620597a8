"""Junk in the keys of one session, and what must hold of the store that reads it."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from hypothesis import strategies as st

from maskstream.core.errors import SessionError, StoreError
from maskstream.pipeline.store import Outcome, SessionStore, open_store
from maskstream.pipeline.store.keys import Keys
from tests.pipeline.hostile import VALUES
from tests.pipeline.store.records import checkpoint, concept, new_session, result
from tests.pipeline.store.servers import raw_client

_HASH_FIELDS = {
    "session": [
        "record", "limits", "counters", "state", "reason", "nonce", "change", "created_ms",
        "updated_ms", "expire_ms", "epoch", "writer", "work_id", "lease_ms",
        "num_prompts", "journal_sequence", "journal_bytes", "settled_sequence", "result_sequence",
        "result_epoch", "result_step", "stats",
    ],
    "outcomes": ["1", "2", "9", "x"],
    "checkpoint": ["blob", "meta", "epoch", "step"],
}  # fmt: skip
_STREAMS = ["journal", "results"]


@dataclass(frozen=True)
class Damage:
    """What a stranger does to one key.

    Attributes:
        kind: of the key; see ``maskstream.pipeline.store.keys``.
        field: of a hash, None in a stream.
        value: what is written there; None deletes it.
    """

    kind: str
    field: str | None
    value: bytes | None


def _as_json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode("utf-8", "surrogatepass")


_JUNK = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.integers(-3, 2**70).map(lambda number: str(number).encode()),
    VALUES.map(_as_json),
    st.dictionaries(
        st.sampled_from(["owner", "kind", "payload", "record", "frame_index", "obj_id", "decoded"]),
        VALUES,
        max_size=4,
    ).map(_as_json),
)
DAMAGES = st.one_of(
    st.sampled_from(
        [(kind, name) for kind, names in _HASH_FIELDS.items() for name in names]
    ).flatmap(lambda place: st.builds(Damage, st.just(place[0]), st.just(place[1]), _JUNK)),
    st.builds(Damage, st.sampled_from(_STREAMS), st.none(), _JUNK),
)


def _fill(store: SessionStore, session_id: str) -> None:
    """A session with three of everything."""
    store.create_session(new_session(session_id))
    for number in range(3):
        store.append_entry(session_id, concept(f"prompt {number}"))
        store.settle_entry(session_id, number + 1, Outcome(frame_index=number))
        store.publish_result(session_id, result(number))
    store.save_checkpoint(session_id, checkpoint(2))


def _check_whole(store: SessionStore, session_id: str) -> None:
    """All that :func:`_fill` has put there can be read."""
    assert store.get_session(session_id).state == "starting"
    assert len(store.read_journal(session_id).entries) == 3
    assert len(store.read_results(session_id).entries) == 3
    assert store.load_checkpoint(session_id) == checkpoint(2)


def _uses(store: SessionStore) -> list[Callable[[], object]]:
    """What a runtime and its clients do with a session."""
    return [
        lambda: store.get_session("s"),
        lambda: store.list_sessions(),
        lambda: store.read_journal("s"),
        lambda: store.read_results("s"),
        lambda: store.load_checkpoint("s"),
        lambda: store.wait_settled("s", 2, timeout_s=0),
        lambda: store.append_entry("s", concept("more")),
        lambda: store.settle_entry("s", 4, Outcome(frame_index=4)),
        lambda: store.publish_result("s", result(9)),
        lambda: store.take_over("s"),
        lambda: store.report("s", epoch=1),
    ]


class DamagedStore:
    """Two sessions in a namespace of their own, one of them damaged."""

    def __init__(self, store: SessionStore) -> None:
        assert store.url is not None
        self._url = store.url
        self._raw: redis.Redis = raw_client(store.url)

    def check(self, damage: Damage) -> bool:
        """Whether all uses of the damaged session went well.

        Where they did not, a StoreError names the key, or a SessionError says what the session
        cannot do; its neighbour is not touched, and it can be deleted and started again.
        """
        namespace = f"fuzz-{uuid.uuid4().hex}"
        with contextlib.closing(open_store(self._url, namespace)) as store:
            for name in ("s", "other"):
                _fill(store, name)
            self._write(Keys(namespace), damage)
            went_well = [_goes_well(use, namespace) for use in _uses(store)]
            _check_whole(store, "other")
            store.delete_session("s")
            assert store.create_session(new_session("s")).state == "starting"
            for name in ("s", "other"):
                assert store.delete_session(name)
        return all(went_well)

    def _write(self, keys: Keys, damage: Damage) -> None:
        key = getattr(keys, damage.kind)("s")
        if damage.field is None:
            if damage.value is None:
                self._raw.xdel(key, "2-0")
            else:
                self._raw.xadd(key, {"entry": damage.value, "ms": "1"}, id="4-0")
        elif damage.value is None:
            self._raw.hdel(key, damage.field)
        else:
            self._raw.hset(key, damage.field, damage.value)


def _goes_well(use: Callable[[], object], namespace: str) -> bool:
    try:
        use()
    except StoreError as error:
        _check_names_a_key(error, namespace)
        return False
    except SessionError:
        return False
    return True


def _check_names_a_key(error: StoreError, namespace: str) -> None:
    assert error.key is not None, error
    assert error.key.startswith(namespace), error
    assert error.key in str(error), error
