"""When a session counts as served by nobody."""

from __future__ import annotations

from typing import cast

import pytest

from maskstream.core.errors import SessionError
from maskstream.pipeline.client.holder_watch import HolderWatch
from maskstream.pipeline.store import Claim, SessionStore

LEASE_S = 10.0


class Told:
    """A store that says of every session's claim what it is told, and a clock that is set."""

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self.now_s = 1000.0

    def get_claim(self, session_id: str) -> Claim | None:
        return self.claim

    def be_silent(self, silent_s: float, holder: str = "gone") -> None:
        self.claim = Claim(holder=holder, silent_s=silent_s, lease_s=LEASE_S)


@pytest.fixture
def told() -> Told:
    return Told()


def watching(told: Told, takeover_timeout_s: float | None = None) -> HolderWatch:
    return HolderWatch(cast(SessionStore, told), "s", takeover_timeout_s, clock=lambda: told.now_s)


def test_without_a_claim_there_is_nothing_to_watch(told: Told) -> None:
    watch = watching(told, 0.0)
    watch.check()
    told.now_s += 1e6
    watch.check()


@pytest.mark.parametrize(("timeout_s", "expected_s"), [(None, LEASE_S), (3.0, 3.0), (0.0, 0.0)])
def test_it_waits_as_long_as_the_claim_was_or_as_it_is_told(
    told: Told, timeout_s: float | None, expected_s: float
) -> None:
    watch = watching(told, timeout_s)
    told.be_silent(9.9)
    watch.check()
    told.be_silent(10.0)
    if expected_s:
        watch.check()
        told.now_s += expected_s - 0.1
        watch.check()
        told.now_s += 0.1
    told.be_silent(20.0)
    with pytest.raises(SessionError, match=r"nobody serves session s .* gone .* of 20 s ago"):
        watch.check()


def test_a_store_that_was_away_is_given_time_to_hear_of_the_holder(told: Told) -> None:
    watch = watching(told)
    told.be_silent(31.0)
    watch.check()
    told.now_s += 4.0
    told.be_silent(0.1)
    watch.check()
    told.now_s += 20.0
    told.be_silent(10.1)
    watch.check()


@pytest.mark.parametrize("how", ["renewed", "passed on", "news"])
def test_whatever_happens_begins_anew(told: Told, how: str) -> None:
    watch = watching(told)
    told.be_silent(11.0)
    watch.check()
    told.now_s += 9.0
    if how == "news":
        watch.note_news()
    else:
        told.be_silent(0.0, "another" if how == "passed on" else "gone")
        watch.check()
        told.be_silent(11.0)
    told.now_s += 9.0
    watch.check()
    told.now_s += 9.0
    watch.check()
    told.now_s += 1.0
    with pytest.raises(SessionError, match="nobody serves"):
        watch.check()
