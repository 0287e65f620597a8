"""Batches of work from many sessions, in which every session gets its turn."""

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

    Promises: the items of one lane start in order. Lanes with waiting items take turns, one item
    each. Once a thread is free, an item waits at most ``max_wait_s`` for its batch to fill. If a
    batch fails, its items are tried again one by one, so that each gets its own result or error.

    Args:
        works: one function for each thread; only that thread calls it. It takes a batch and returns
            the results in the same order.
        max_batch: largest number of items in a batch.
        max_wait_s: how long an incomplete batch waits for more items.
        name: name of the threads.
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
        """Add an item to the end of its lane; returns the future of its result.

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
        """Cancel the waiting items and end the threads."""
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
        """Wait for the next batch and return it; empty when the batcher is closed."""
        with self._news:
            batch: list[tuple[T, Future[R]]] = []
            while not batch and not self._is_closed:
                self._news.wait_for(lambda: self._num_waiting or self._is_closed)
                self._news.wait_for(
                    lambda: self._num_waiting >= self._max_batch or self._is_closed,
                    self._max_wait_s,
                )
                batch = self._gather()  # empty if another thread was faster
            self.num_batches += bool(batch)
            self.num_items += len(batch)
            return batch

    def _gather(self) -> list[tuple[T, Future[R]]]:
        """Take one item of each lane in turn, until the batch is full; skip cancelled ones."""
        batch: list[tuple[T, Future[R]]] = []
        while self._lanes and len(batch) < self._max_batch:
            name, lane = self._lanes.popitem(last=False)
            item, future = lane.popleft()
            self._num_waiting -= 1
            if lane:  # the lane goes to the end of the queue
                self._lanes[name] = lane
            if future.set_running_or_notify_cancel():  # from here on it cannot be cancelled
                batch.append((item, future))
        return batch


def _run_batch(
    work: Callable[[Sequence[T]], Sequence[R]], items: list[T], futures: list[Future[R]]
) -> bool:
    """Work on a batch as a whole; False if that failed."""
    try:
        results = work(items)
    except Exception:  # the caller tries the items one by one to find the faulty one
        return False
    for future, result in zip(futures, results, strict=True):
        future.set_result(result)
    return True


def _run_item(work: Callable[[Sequence[T]], Sequence[R]], item: T, future: Future[R]) -> None:
    try:
        [result] = work([item])
    except BaseException as error:  # the future raises it where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
