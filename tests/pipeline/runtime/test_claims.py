"""Which sessions a runtime holds, and that it lets go of them when it can serve no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from maskstream.core.errors import RuntimeFailedError
from maskstream.pipeline.runtime.claims import Claims
from maskstream.pipeline.store import MemoryStore, SessionState
from tests.pipeline.store.records import new_session
from tests.pipeline.store.servers import eventually

LEASE_S = 0.6


class Fault:
    """What is wrong with the runtime, once it is set."""

    said: str | None = None

    def __call__(self) -> str | None:
        return self.said


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def fault() -> Fault:
    return Fault()


@pytest.fixture
def claims(store: MemoryStore, fault: Fault) -> Iterator[Claims]:
    claims = Claims(store, "first", LEASE_S, 2, fault)
    claims.start()
    yield claims
    claims.stop(10)


def taken(claims: Claims, count: int) -> list[str]:
    found: list[str] = []

    def look() -> bool:
        found.extend(claims.take_new())
        return len(found) >= count

    assert eventually(look)
    return found


def always(condition: Callable[[], bool], for_s: float) -> bool:
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        if not condition():
            return False
        time.sleep(0.02)
    return True


def test_no_more_are_claimed_than_there_is_room_for(store: MemoryStore, claims: Claims) -> None:
    for name in ("a", "b", "c"):
        store.create_session(new_session(name))
    assert sorted(taken(claims, 2)) == ["a", "b"]
    assert store.get_claim("c") is None
    store.transition("a", SessionState.FAILED)
    claims.forget("a")
    assert taken(claims, 1) == ["c"]


def test_claims_are_renewed_while_all_is_well(store: MemoryStore, claims: Claims) -> None:
    store.create_session(new_session("a"))
    assert taken(claims, 1) == ["a"]

    def is_held() -> bool:
        claim = store.get_claim("a")
        return claim is not None and claim.holder == "first"

    assert always(is_held, 3 * LEASE_S)
    assert claims.failure is None


def test_a_fault_gives_all_of_them_up(store: MemoryStore, claims: Claims, fault: Fault) -> None:
    for name in ("a", "b"):
        store.create_session(new_session(name))
    taken(claims, 2)
    fault.said = "a cat sleeps on it"
    assert claims.is_over.wait(10)
    assert isinstance(claims.failure, RuntimeFailedError)
    assert "can serve no more: a cat sleeps on it; its sessions are free" in str(claims.failure)
    claims.stop(10)
    assert {store.claim_session("second", LEASE_S) for _ in range(2)} == {"a", "b"}


def test_a_runtime_that_claims_no_more_keeps_what_it_has(
    store: MemoryStore, claims: Claims
) -> None:
    store.create_session(new_session("a"))
    taken(claims, 1)
    claims.claim_no_more()
    # The claimer may be waiting for a session at this moment; it takes that one and no other.
    store.create_session(new_session("b"))
    store.create_session(new_session("c"))
    assert store.claim_session("second", LEASE_S, timeout_s=10) in ("b", "c")
    claim = store.get_claim("a")
    assert claim is not None
    assert claim.holder == "first"


def test_after_a_stop_claims_stand_until_they_are_given_up(
    store: MemoryStore, claims: Claims
) -> None:
    store.create_session(new_session("a"))
    taken(claims, 1)
    claims.stop(10)
    claim = store.get_claim("a")
    assert claim is not None
    claims.give_up()
    assert store.claim_session("second", LEASE_S) == "a"
    assert claims.failure is None
