"""Work from many sessions in batches, to each session its turn."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class FairBatcher(Generic[T, R]):
    """Gathers items into batches for the threads that work on them.

    Promises: items of one lane are begun in order; of lanes with waiting items none gets a second
    place in a batch, or in the batches that follow, before each other has had its first; an item
    waits at most ``max_wait_s`` for company once a thread is free. A batch that fails is tried
    again item by item, so that each gets its own result or error.

    Args:
        works: one for each thread, which alone calls it: results of a batch, in order.
        max_batch: items in a batch.
        max_wait_s: how long an incomplete batch waits for more.
        name: of the threads.
    """

    def __init__(
        self,
        works: Sequence[Callable[[Sequence[T]], Sequence[R]]],
        *,
        max_batch: int,
        max_wait_s: float,
        name: str = "batcher",
    ) -> None:
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._lanes: OrderedDict[str, deque[tuple[T, Future[R]]]] = OrderedDict()
        self._num_waiting = 0
        self._is_closed = False
        self._news = threading.Condition()
        self.num_batches = 0
        self.num_items = 0
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
            for work in works
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, lane: str, item: T) -> Future[R]:
        """Put an item at the end of its lane.

        Raises:
            RuntimeError: the batcher is closed.
        """
        future: Future[R] = Future()
        with self._news:
            if self._is_closed:
                raise RuntimeError("the batcher is closed")
            self._lanes.setdefault(lane, deque()).append((item, future))
            self._num_waiting += 1
            self._news.notify()
        return future

    def close(self) -> None:
        """Cancel what waits and end the threads."""
        with self._news:
            self._is_closed = True
            for lane in self._lanes.values():
                for _, future in lane:
                    future.cancel()
            self._lanes.clear()
            self._num_waiting = 0
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        while batch := self._next_batch():
            items = [item for item, _ in batch]
            if len(items) > 1 and _run_batch(work, items, [future for _, future in batch]):
                continue
            for item, future in batch:
                _run_item(work, item, future)

    def _next_batch(self) -> list[tuple[T, Future[R]]]:
        """What is to be worked on next, waited for; empty when closed."""
        with self._news:
            batch: list[tuple[T, Future[R]]] = []
            while not batch and not self._is_closed:
                self._news.wait_for(lambda: self._num_waiting or self._is_closed)
                self._news.wait_for(
                    lambda: self._num_waiting >= self._max_batch or self._is_closed,
                    self._max_wait_s,
                )
                batch = self._gather()  # none, if another thread was faster
            self.num_batches += bool(batch)
            self.num_items += len(batch)
            return batch

    def _gather(self) -> list[tuple[T, Future[R]]]:
        """One item of each lane in turn, until the batch is full."""
        batch: list[tuple[T, Future[R]]] = []
        while self._lanes and len(batch) < self._max_batch:
            name, lane = self._lanes.popitem(last=False)
            batch.append(lane.popleft())
            if lane:  # to the end of the line
                self._lanes[name] = lane
        self._num_waiting -= len(batch)
        return batch


def _run_batch(
    work: Callable[[Sequence[T]], Sequence[R]], items: list[T], futures: list[Future[R]]
) -> bool:
    """Work on a batch as a whole; False when that failed."""
    try:
        results = work(items)
    except Exception:  # which item was it? the caller finds out, and hands the error over
        return False
    for future, result in zip(futures, results, strict=True):
        future.set_result(result)
    return True


def _run_item(work: Callable[[Sequence[T]], Sequence[R]], item: T, future: Future[R]) -> None:
    try:
        [result] = work([item])
    except BaseException as error:  # handed over to the one who waits for it
        future.set_exception(error)
    else:
        future.set_result(result)
