"""decoded = processed + dropped + in flight, whatever dies."""

from __future__ import annotations

from maskstream.pipeline.session.feed import FrameNote
from maskstream.pipeline.session.ledger import CLOSED, LOST, Ledger
from maskstream.pipeline.store import Counters


def test_a_live_source_loses_and_counts() -> None:
    ledger = Ledger(Counters(), lossless=False)
    ledger.note(FrameNote("frame", decoded=5, dropped={"queue_full": 1}))
    for _ in range(3):
        ledger.note_taken()
    ledger.note_processed()
    assert ledger.counters() == Counters(decoded=5, processed=1, dropped={"queue_full": 1})
    assert (ledger.num_held, ledger.counters().in_flight) == (2, 3)
    ledger.close_feed(LOST)  # one was decoded and did not get here
    assert ledger.counters().dropped == {"queue_full": 1, LOST: 1}
    ledger.note(FrameNote("frame", decoded=2, dropped={"queue_full": 1}))
    assert ledger.counters() == Counters(decoded=7, processed=1, dropped={"queue_full": 2, LOST: 1})
    ledger.note(FrameNote("frame", decoded=1))  # from before
    assert ledger.counters().decoded == 7
    ledger.note_processed()
    ledger.abandon_held(CLOSED)
    ledger.close_feed(CLOSED)
    told = ledger.counters()
    assert told.in_flight == 0
    assert told.dropped == {"queue_full": 2, LOST: 1, CLOSED: 2}


def test_another_worker_counts_what_the_first_has_lost() -> None:
    told = Counters(decoded=10, processed=4, dropped={"stale": 1})
    ledger = Ledger(told, num_held=2, lossless=False)
    assert ledger.counters().dropped == {"stale": 1, LOST: 3}
    assert ledger.num_held == 2


def test_what_can_be_read_again_is_counted_once() -> None:
    ledger = Ledger(Counters(), lossless=True)
    ledger.note(FrameNote("frame", decoded=5, dropped={"sampling": 2}))
    ledger.note_taken()
    ledger.close_feed(LOST)
    assert ledger.counters() == Counters(decoded=3, dropped={"sampling": 2})
    ledger.abandon_held(CLOSED)
    assert ledger.counters() == Counters(decoded=2, dropped={"sampling": 2})
