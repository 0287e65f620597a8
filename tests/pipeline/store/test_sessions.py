"""The contract of every store: sessions, their states, limits, expiry, and who serves them."""

from __future__ import annotations

import threading
import time

import pytest

from maskstream.core.errors import InputError, SessionError, SessionLimitError, SessionNotFoundError
from maskstream.pipeline.store import (
    Counters,
    Outcome,
    ServiceLimits,
    SessionRecord,
    SessionState,
    SessionStore,
    open_store,
)
from tests.pipeline.store.records import checkpoint, concept, new_session, result
from tests.pipeline.store.servers import eventually

LONG_S = 30.0


def is_there(store: SessionStore, session_id: str) -> bool:
    """Without counting as use."""
    return any(one.session_id == session_id for one in store.list_sessions().sessions)


def test_a_new_session(store: SessionStore) -> None:
    record = store.create_session(new_session(options={"loop": True, "fps": [1, 2.5]}))
    assert record == store.get_session("s").model_copy(update={"expires_s": record.expires_s})
    assert record.state is SessionState.STARTING
    assert (record.owner, record.source, record.has_credentials) == ("ann", "clip.mp4", False)
    assert record.options == {"loop": True, "fps": [1, 2.5]}
    assert record.expires_s - record.created_s == pytest.approx(3600, abs=1)
    assert (record.last_result, record.counters) == (None, Counters())
    assert store.reveal_source("s") == "clip.mp4"
    store.ping()


def test_an_id_is_taken_once(store: SessionStore) -> None:
    store.create_session(new_session())
    with pytest.raises(SessionError, match="there is a session 's' already"):
        store.create_session(new_session(owner="bob"))
    assert store.get_session("s").owner == "ann"


@pytest.mark.parametrize("session_id", ["nobody", "", "s:journal", "a b\n\ud800", "x" * 1000])
def test_unknown_sessions(store: SessionStore, session_id: str) -> None:
    store.create_session(new_session())
    for call in (
        store.get_session,
        store.take_over,
        store.get_claim,
        store.read_journal,
        store.read_results,
        store.load_checkpoint,
        store.reveal_source,
        store.report,
    ):
        with pytest.raises(SessionNotFoundError, match="there is no session"):
            call(session_id)
    with pytest.raises(SessionNotFoundError):
        store.publish_result(session_id, result(0))
    assert store.delete_session(session_id) is False


def test_ids_with_colons_are_kept_apart(store: SessionStore) -> None:
    names = ["a", "a:journal", "journal:a", "a:results"]
    for name in names:
        store.create_session(new_session(name))
        store.append_entry(name, concept(name))
    for name in names:
        (entry,) = store.read_journal(name).entries
        assert entry.payload == {"text": name}


def test_options_must_be_json(store: SessionStore) -> None:
    with pytest.raises(InputError, match="options holds a value that is not JSON"):
        store.create_session(new_session(options={"threshold": float("nan")}))
    assert store.list_sessions().sessions == ()


def test_lists_by_owner_and_age(store: SessionStore) -> None:
    for name, owner in (("b", "ann"), ("a", "bob"), ("c", "ann")):
        store.create_session(new_session(name, owner=owner))
    assert {one.session_id for one in store.list_sessions().sessions} == {"a", "b", "c"}
    assert {one.session_id for one in store.list_sessions("ann").sessions} == {"b", "c"}
    created = [one.created_s for one in store.list_sessions().sessions]
    assert created == sorted(created)


def test_states_follow_the_machine(store: SessionStore) -> None:
    store.create_session(new_session())
    for state in ("running", "paused", "running", "draining", "ended"):
        record = store.transition("s", SessionState(state), reason=f"now {state}")
        assert (record.state, record.reason) == (state, f"now {state}")
    for state in SessionState:
        with pytest.raises(SessionError, match=f"s is ended and cannot become {state}"):
            store.transition("s", state)


def test_a_transition_compares_first(store: SessionStore) -> None:
    store.create_session(new_session())
    with pytest.raises(SessionError, match="is starting and cannot become draining"):
        store.transition("s", SessionState.DRAINING, expected=[SessionState.RUNNING])
    assert store.get_session("s").state == "starting"


def test_one_of_many_transitions_wins(store: SessionStore) -> None:
    store.create_session(new_session())
    outcomes: list[str] = []

    def start(reason: str) -> None:
        try:
            store.transition("s", SessionState.RUNNING, reason=reason)
            outcomes.append(reason)
        except SessionError:
            outcomes.append("")

    threads = [threading.Thread(target=start, args=(f"by {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one for one in outcomes if one] == [store.get_session("s").reason]
    assert len(outcomes) == 8


def test_waiting_for_a_state(store: SessionStore) -> None:
    store.create_session(new_session())
    over = [SessionState.ENDED, SessionState.FAILED]
    assert store.wait_for_state("s", over, timeout_s=0).state == "starting"
    found: list[SessionRecord] = []
    waiter = threading.Thread(
        target=lambda: found.append(store.wait_for_state("s", over, timeout_s=LONG_S))
    )
    waiter.start()
    store.transition("s", SessionState.RUNNING)
    store.transition("s", SessionState.FAILED, reason="no such file")
    waiter.join()
    assert (found[0].state, found[0].reason) == ("failed", "no such file")


def test_accounting(store: SessionStore) -> None:
    store.create_session(new_session())
    counters = Counters(decoded=10, processed=6, dropped={"stale": 3})
    store.report("s", counters=counters, epoch=2)
    store.report("s", epoch=1)
    record = store.get_session("s")
    assert (record.counters, record.epoch, record.counters.in_flight) == (counters, 2, 1)
    with pytest.raises(ValueError, match="more than the 5 decoded"):
        Counters(decoded=5, processed=3, dropped={"stale": 3})


def test_limits_of_owners_and_of_all(store: SessionStore) -> None:
    store.set_service_limits(ServiceLimits(max_sessions=3, max_sessions_per_owner=2))
    store.create_session(new_session("a"))
    store.create_session(new_session("b"))
    with pytest.raises(SessionLimitError, match="'ann' has 2 open sessions"):
        store.create_session(new_session("c"))
    store.create_session(new_session("d", owner="bob"))
    with pytest.raises(SessionLimitError, match="there are 3 open sessions"):
        store.create_session(new_session("e", owner="eve"))
    store.transition("a", SessionState.FAILED)
    store.create_session(new_session("c"))
    store.delete_session("d")
    store.create_session(new_session("e", owner="eve"))
    assert {one.session_id for one in store.list_sessions().sessions} == {"a", "b", "c", "e"}


def test_many_start_at_once_and_no_more_than_allowed(store: SessionStore) -> None:
    store.set_service_limits(ServiceLimits(max_sessions=4))
    refused: list[str] = []

    def start(number: int) -> None:
        try:
            store.create_session(new_session(f"s{number}", owner=f"o{number}"))
        except SessionLimitError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(store.list_sessions().sessions), len(refused)) == (4, 6)


def test_unused_sessions_expire_and_make_room(store: SessionStore) -> None:
    store.set_service_limits(ServiceLimits(max_sessions=1))
    store.create_session(new_session(options={"first": True}, limits={"expire_after_s": 0.2}))
    assert eventually(lambda: not is_there(store, "s"))
    with pytest.raises(SessionNotFoundError):
        store.get_session("s")
    assert store.create_session(new_session()).options == {}


def test_use_puts_expiry_off_and_looking_at_the_list_does_not(store: SessionStore) -> None:
    def expires_s() -> float:
        (record,) = store.list_sessions().sessions
        return record.expires_s

    store.create_session(new_session())
    at_first, begin_s = expires_s(), time.monotonic()
    assert eventually(lambda: time.monotonic() > begin_s + 0.05)
    assert expires_s() == pytest.approx(at_first, abs=0.01)
    store.publish_result("s", result(0))
    assert expires_s() > at_first + 0.03


def test_deleting_forgets_everything(store: SessionStore) -> None:
    def fill() -> None:
        store.create_session(new_session())
        store.append_entry("s", concept())
        store.settle_entry("s", 1, Outcome(frame_index=0))
        store.publish_result("s", result(0))
        store.save_checkpoint("s", checkpoint(0))

    fill()
    assert store.delete_session("s") is True
    assert store.delete_session("s") is False
    with pytest.raises(SessionNotFoundError):
        store.append_entry("s", concept())
    store.create_session(new_session())
    assert store.load_checkpoint("s") is None
    assert store.read_results("s").cursor == 0
    store.delete_session("s")
    fill()


def test_a_waiting_reader_learns_that_the_session_is_gone(store: SessionStore) -> None:
    store.create_session(new_session())
    problems: list[SessionNotFoundError] = []

    def read() -> None:
        with pytest.raises(SessionNotFoundError) as caught:
            store.read_results("s", timeout_s=LONG_S)
        problems.append(caught.value)

    reader = threading.Thread(target=read)
    reader.start()
    store.delete_session("s")
    reader.join(10)
    assert len(problems) == 1


def test_only_the_newest_writer_writes(store: SessionStore) -> None:
    store.create_session(new_session())
    store.append_entry("s", concept())
    old, new = store.take_over("s"), store.take_over("s")
    assert new > old
    attempts = [
        lambda writer: store.publish_result("s", result(0), writer=writer),
        lambda writer: store.settle_entry("s", 1, Outcome(frame_index=0), writer=writer),
        lambda writer: store.save_checkpoint("s", checkpoint(0), writer=writer),
        lambda writer: store.report("s", epoch=1, writer=writer),
        lambda writer: store.transition("s", SessionState.RUNNING, writer=writer),
    ]
    for attempt in attempts:
        with pytest.raises(SessionError, match="taken over by another worker"):
            attempt(old)
    record = store.get_session("s")
    assert (record.result_sequence, record.settled_sequence, record.epoch) == (0, 0, 0)
    for attempt in attempts:
        attempt(new)
    record = store.get_session("s")
    assert (record.result_sequence, record.settled_sequence, record.epoch) == (1, 1, 1)


def test_each_session_is_claimed_once(store: SessionStore) -> None:
    names = {f"s{number}" for number in range(6)}
    for name in names:
        store.create_session(new_session(name))
    claimed = [store.claim_session(f"runtime {n % 2}", lease_s=LONG_S) for n in range(6)]
    assert set(claimed) == names
    assert store.claim_session("runtime 0", lease_s=LONG_S) is None


def test_claims_pass_on_when_they_are_not_renewed(store: SessionStore) -> None:
    store.create_session(new_session("kept"))
    store.create_session(new_session("left"))
    assert {store.claim_session("first", lease_s=LONG_S) for _ in range(2)} == {"kept", "left"}
    assert store.renew_claim("kept", "second") is False
    taken: list[str] = []

    def take_what_is_not_renewed() -> bool:
        assert store.renew_claim("kept", "first") is True
        taken.extend(filter(None, [store.claim_session("second", lease_s=1.0)]))
        return bool(taken)

    assert eventually(take_what_is_not_renewed)
    assert taken == ["left"]
    assert store.renew_claim("left", "second") is True
    assert store.renew_claim("left", "first") is False


def test_a_claim_that_is_given_up_passes_on_at_once(store: SessionStore) -> None:
    store.create_session(new_session())
    assert store.release_claim("s", "first") is False
    assert store.claim_session("first", lease_s=LONG_S) == "s"
    assert store.release_claim("s", "second") is False
    assert store.claim_session("second", lease_s=LONG_S) is None
    assert store.release_claim("s", "first") is True
    given_up = store.get_claim("s")
    assert given_up is not None
    assert (given_up.holder, given_up.has_run_out) == ("first", True)
    assert store.claim_session("second", lease_s=LONG_S) == "s"
    assert store.release_claim("s", "first") is False
    store.transition("s", SessionState.FAILED)
    assert store.release_claim("s", "second") is False


def test_a_runtime_waits_for_a_claim_to_run_out(store: SessionStore) -> None:
    store.create_session(new_session())
    assert store.claim_session("first", lease_s=0.2) == "s"
    assert store.claim_session("second", lease_s=0.2, timeout_s=LONG_S) == "s"


def test_a_claim_tells_its_holder_and_when_it_has_run_out(store: SessionStore) -> None:
    store.create_session(new_session())
    assert store.get_claim("s") is None
    assert store.claim_session("first", lease_s=0.5) == "s"
    claim = store.get_claim("s")
    assert claim is not None
    assert (claim.holder, claim.lease_s) == ("first", 0.5)

    def has_run_out() -> bool:
        claim = store.get_claim("s")
        return claim is not None and claim.has_run_out

    assert eventually(has_run_out)
    begin_s = time.monotonic()
    assert store.renew_claim("s", "first") is True  # late, and nobody else has come
    renewed = store.get_claim("s")
    assert renewed is not None
    assert renewed.silent_s < time.monotonic() - begin_s + 0.01
    assert eventually(has_run_out)
    begin_s = time.monotonic()
    assert store.claim_session("second", lease_s=0.4) == "s"
    taken = store.get_claim("s")
    assert taken is not None
    assert (taken.holder, taken.lease_s) == ("second", 0.4)
    assert taken.silent_s < time.monotonic() - begin_s + 0.01
    assert taken.has_run_out == (taken.silent_s >= 0.4)
    store.transition("s", SessionState.FAILED)
    assert store.get_claim("s") is None


def test_sessions_that_are_over_are_not_claimed(store: SessionStore) -> None:
    for name in ("ended", "deleted", "expired", "held"):
        limits = {"expire_after_s": 0.2} if name == "expired" else {}
        store.create_session(new_session(name, limits=limits))
    store.transition("ended", SessionState.FAILED)
    store.delete_session("deleted")
    assert eventually(lambda: not is_there(store, "expired"))
    assert store.claim_session("runtime", lease_s=LONG_S) == "held"
    assert store.claim_session("runtime", lease_s=LONG_S) is None
    store.transition("held", SessionState.FAILED)
    assert store.renew_claim("held", "runtime") is False


def test_a_runtime_waits_for_work(store: SessionStore) -> None:
    claimed: list[str | None] = []
    waiter = threading.Thread(
        target=lambda: claimed.append(store.claim_session("runtime", LONG_S, timeout_s=LONG_S))
    )
    waiter.start()
    store.create_session(new_session())
    waiter.join(10)
    assert claimed == ["s"]


def test_namespaces_are_apart(server_url: str, namespace: str) -> None:
    one, two = open_store(server_url, namespace), open_store(server_url, namespace + ".b")
    one.create_session(new_session())
    assert two.list_sessions().sessions == ()
    assert two.claim_session("runtime", lease_s=LONG_S) is None
    one.close()
    two.close()


@pytest.mark.parametrize("name", ["", "a:b", "a b", "x" * 65])
def test_unusable_namespaces(name: str, embedded_url: str) -> None:
    with pytest.raises(InputError, match="namespace"):
        open_store(embedded_url, name)
