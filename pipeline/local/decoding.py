"""A thread of this process as the decoder of a session."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from maskstream.pipeline.session.feed import Delivery, Feed, FrameNote

# So that a session on a silent source can be closed at once.
_LONGEST_WAIT_S = 0.1


class DecodeThread:
    """Reads a feed in a thread of its own, so that the next frame is decoded while one is tracked.

    See :class:`maskstream.pipeline.session.ports.Decoder`. It never dies: what the feed raises is
    raised here.

    Args:
        open_feed: opens the source; called in the thread.
    """

    def __init__(self, open_feed: Callable[[], Feed]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._feed = self._thread.submit(open_feed)

    def begin(self, start: int, *, reverse: bool) -> None:
        self._thread.submit(lambda: self._feed.result().begin(start, reverse=reverse)).result()

    def next(self, timeout_s: float) -> FutureNote:
        wait_s = min(timeout_s, _LONGEST_WAIT_S)
        return FutureNote(self._thread.submit(lambda: self._feed.result().next(wait_s)))

    def read(self, index: int) -> Delivery:
        return self._thread.submit(lambda: self._feed.result().read(index)).result()

    def look(self) -> FrameNote:
        return self._feed.result().look()

    def note_done(self, index: int) -> None:
        self._feed.result().note_done(index)

    def check(self) -> None:
        return

    def close(self) -> None:
        """Close the feed as soon as the thread is free, and wait for that."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if not self._feed.cancelled() and self._feed.exception() is None:
            self._feed.result().close()


class FutureNote:
    """See :class:`maskstream.pipeline.session.ports.PendingNote`."""

    def __init__(self, delivery: Future[Delivery]) -> None:
        self.handle = delivery

    def wait(self, timeout_s: float) -> bool:
        return bool(wait([self.handle], timeout_s).done)

    def result(self) -> Delivery:
        return self.handle.result()
