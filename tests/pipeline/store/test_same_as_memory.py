"""Whatever is done in whatever order, Redis and the memory store answer the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from maskstream.core.errors import MaskstreamError
from maskstream.pipeline.store import (
    Checkpoint,
    Counters,
    MemoryStore,
    NewEntry,
    Outcome,
    ServiceLimits,
    SessionState,
    SessionStore,
    open_store,
)
from tests.pipeline.store.conftest import KEY
from tests.pipeline.store.records import checkpoint, new_session, result

SESSIONS = st.sampled_from(["a", "a", "a", "b"])
SMALL = st.integers(0, 4)
LIMITS = {
    "max_prompts": 3,
    "max_journal_entries": 6,
    "max_results": 3,
    "max_checkpoint_bytes": 3,
    "max_prompt_bytes": 200,
    "max_result_bytes": 150,
}
# Most of what is done should be possible, or nothing interesting comes of it.
WRITERS = st.sampled_from([None, None, None, None, 0, 1])
SELDOM = st.integers(0, 9).map(lambda number: number == 7)
STATES = st.sampled_from(["running", "paused"] * 9 + list(SessionState)).map(SessionState)
KINDS = st.sampled_from(["add_concept", "add_object", "remove_prompt", "reset", "reset"])
OUTCOMES = st.one_of(
    st.builds(lambda n: Outcome(frame_index=n), SMALL),
    st.just(Outcome(rejection="cannot open rtsp://a:b@c")),
)
TIMES = {"created_s", "updated_s", "expires_s", "accepted_s"}


def without_times(value: Any) -> Any:
    """What two stores must agree on."""
    if hasattr(value, "model_dump"):
        return without_times(value.model_dump())
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    if isinstance(value, list | tuple):
        return [without_times(item) for item in value]
    return value


class TwoStores(RuleBasedStateMachine):
    """Does the same to both."""

    url: ClassVar[str]
    served: SessionStore

    @initialize()
    def open(self) -> None:
        self.served = open_store(self.url, f"test-{uuid.uuid4().hex}", secret_key=KEY)
        self.memory = MemoryStore()
        limits = ServiceLimits(max_sessions=2, max_sessions_per_owner=1)
        self.served.set_service_limits(limits)
        self.memory.set_service_limits(limits)
        self.create("a", "ann")
        self.create("b", "bob")

    def teardown(self) -> None:
        for name in ("a", "b"):
            self.look(name)
            self.read(name, 0, 100)
            self.delete(name, really=True)
        self.served.close()

    def both(self, call: Callable[[SessionStore], Any]) -> None:
        answers = []
        for store in (self.served, self.memory):
            try:
                answers.append((None, without_times(call(store))))
            except MaskstreamError as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]

    @rule(name=SESSIONS, owner=st.sampled_from(["ann", "bob"]))
    def create(self, name: str, owner: str) -> None:
        new = new_session(name, owner=owner, limits=LIMITS, source="rtsp://a:b@c/d")
        self.both(lambda store: store.create_session(new))

    @rule(name=SESSIONS, really=SELDOM)
    def delete(self, name: str, really: bool) -> None:
        if really:
            self.both(lambda store: store.delete_session(name))

    @rule(name=SESSIONS, to=STATES, writer=WRITERS)
    def transition(self, name: str, to: SessionState, writer: int | None) -> None:
        self.both(lambda store: store.transition(name, to, reason="so", writer=writer))

    @rule(name=SESSIONS, really=SELDOM)
    def take_over(self, name: str, really: bool) -> None:
        if really:
            self.both(lambda store: store.take_over(name))

    @rule(name=SESSIONS, decoded=SMALL, epoch=SMALL, writer=WRITERS)
    def report(self, name: str, decoded: int, epoch: int, writer: int | None) -> None:
        counters, stats = Counters(decoded=decoded), {"fps": decoded, "password": "x"}
        self.both(
            lambda store: store.report(
                name, counters=counters, epoch=epoch, stats=stats, writer=writer
            )
        )

    @rule(name=SESSIONS, kind=KINDS, request=SMALL, size=st.sampled_from([0, 0, 0, 150]))
    def append(self, name: str, kind: Any, request: int, size: int) -> None:
        new = NewEntry(kind=kind, payload={"x": "y" * size}, request_id=str(request))
        self.both(lambda store: store.append_entry(name, new))

    @rule(
        name=SESSIONS,
        sequence=st.sampled_from([0, 1, 1, 2, 2, 3, 4]),
        outcome=OUTCOMES,
        saved=st.none() | st.builds(checkpoint, SMALL, journal_sequence=SMALL),
        writer=WRITERS,
    )
    def settle(
        self,
        name: str,
        sequence: int,
        outcome: Outcome,
        saved: Checkpoint | None,
        writer: int | None,
    ) -> None:
        self.both(
            lambda store: store.settle_entry(
                name, sequence, outcome, checkpoint=saved, writer=writer
            )
        )

    @rule(
        name=SESSIONS,
        epoch=SMALL,
        index=SMALL,
        size=st.sampled_from([0, 0, 0, 150]),
        writer=WRITERS,
    )
    def publish(self, name: str, epoch: int, index: int, size: int, writer: int | None) -> None:
        entry, counters = result(index, epoch, x="y" * size), Counters(decoded=index)
        self.both(lambda store: store.publish_result(name, entry, counters=counters, writer=writer))

    @rule(name=SESSIONS, numbers=st.tuples(*[SMALL] * 5), writer=WRITERS)
    def save(self, name: str, numbers: tuple[int, ...], writer: int | None) -> None:
        epoch, index, journal, published, size = numbers
        fields = {"epoch": epoch, "journal_sequence": journal, "result_sequence": published}
        one = checkpoint(index, bytes(size), **fields)
        self.both(lambda store: store.save_checkpoint(name, one, writer=writer))

    @rule(name=SESSIONS, cursor=st.integers(-1, 6), count=SMALL)
    def read(self, name: str, cursor: int, count: int) -> None:
        self.both(lambda store: store.read_journal(name, cursor, count=count))
        self.both(lambda store: store.read_results(name, cursor, count=count))

    @rule(name=SESSIONS)
    def look(self, name: str) -> None:
        self.both(lambda store: store.get_session(name))
        self.both(lambda store: sorted(one.session_id for one in store.list_sessions().sessions))
        self.both(lambda store: store.load_checkpoint(name))
        self.both(lambda store: store.reveal_source(name))
        self.both(lambda store: store.get_claim(name))


@pytest.mark.parametrize("kind", ["embedded", "redis"])
def test_the_stores_agree(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{kind}_url")

    class Machine(TwoStores):
        pass

    Machine.url = url
    case = Machine.TestCase
    case.settings = settings(
        max_examples=20,
        stateful_step_count=40,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        deadline=None,
    )
    case().runTest()
