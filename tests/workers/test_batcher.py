"""Batches over lanes: fair, bounded, and no item answers for another."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError

import pytest

from maskstream.workers.batcher import FairBatcher


class Gate:
    """Work that waits until it is let go, and notes its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, items: Sequence[str]) -> list[str]:
        self.entered.set()
        assert self.open.wait(10)
        self.batches.append(list(items))
        if "bad" in items:
            raise ValueError("bad item")
        return [item.upper() for item in items]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def batcher(gate: Gate) -> Iterator[FairBatcher[str, str]]:
    made = FairBatcher([gate], max_batch=3, max_wait_s=0.0)
    yield made
    gate.open.set()
    made.close()


def test_lanes_take_turns(gate: Gate, batcher: FairBatcher[str, str]) -> None:
    first = batcher.submit("a", "a0")
    assert gate.entered.wait(10)  # from here on the others queue up
    futures = [batcher.submit("a", f"a{n}") for n in range(1, 6)]
    futures += [batcher.submit(lane, f"{lane}0") for lane in "bcd"]
    gate.open.set()
    assert [future.result(10) for future in [first, *futures]] == [
        *("A0", "A1", "A2", "A3", "A4", "A5"),
        *("B0", "C0", "D0"),
    ]
    assert gate.batches == [["a0"], ["a1", "b0", "c0"], ["d0", "a2"], ["a3"], ["a4"], ["a5"]] or (
        # d's turn comes before a's second, whatever else is in its batch
        gate.batches[:2] == [["a0"], ["a1", "b0", "c0"]] and gate.batches[2][0] == "d0"
    )


def test_one_bad_item_fails_alone(gate: Gate, batcher: FairBatcher[str, str]) -> None:
    first = batcher.submit("a", "a0")
    assert gate.entered.wait(10)
    good, bad, other = (batcher.submit(lane, lane) for lane in ("x", "bad", "y"))
    gate.open.set()
    assert [good.result(10), other.result(10), first.result(10)] == ["X", "Y", "A0"]
    with pytest.raises(ValueError, match="bad item"):
        bad.result(10)


def test_a_closed_batcher_cancels_what_waits(gate: Gate) -> None:
    batcher = FairBatcher([gate], max_batch=1, max_wait_s=0.0)
    running = batcher.submit("a", "a0")
    assert gate.entered.wait(10)
    waiting = batcher.submit("a", "a1")
    closer = threading.Thread(target=batcher.close)
    closer.start()
    with pytest.raises(CancelledError):
        waiting.result(10)
    gate.open.set()
    closer.join(10)
    assert running.result(10) == "A0"
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", "a2")


def test_it_waits_for_company_no_longer_than_told() -> None:
    seen: list[int] = []

    def work(items: Sequence[int]) -> Sequence[int]:
        seen.append(len(items))
        return items

    batcher = FairBatcher([work], max_batch=2, max_wait_s=30.0)
    assert [future.result(10) for future in (batcher.submit("a", 1), batcher.submit("b", 2))]
    batcher.close()
    assert seen == [2]


def test_threads_that_work_at_once() -> None:
    together = threading.Barrier(2, timeout=10)

    def work(items: Sequence[str]) -> list[str]:
        together.wait()  # broken, unless the other thread is at work too
        return list(items)

    batcher = FairBatcher([work, work], max_batch=1, max_wait_s=0.001)
    futures = [batcher.submit("a", f"a{n}") for n in range(4)]
    assert [future.result(10) for future in futures] == ["a0", "a1", "a2", "a3"]
    batcher.close()
    assert (batcher.num_batches, batcher.num_items) == (4, 4)


def test_a_cancelled_item_is_left_out_and_one_in_work_is_finished(
    gate: Gate, batcher: FairBatcher[str, str]
) -> None:
    first = batcher.submit("a", "a0")
    assert gate.entered.wait(10)
    dropped, last = batcher.submit("a", "a1"), batcher.submit("a", "a2")
    assert dropped.cancel()
    assert not first.cancel()
    gate.open.set()
    assert [first.result(10), last.result(10)] == ["A0", "A2"]
    assert [item for batch in gate.batches for item in batch] == ["a0", "a2"]
