"""The decoder of a session in this process: it reads in the session's own thread."""

from __future__ import annotations

from collections.abc import Callable

from maskstream.pipeline.session.feed import Delivery, Feed, FrameNote


class LocalDecoder:
    """Reads a feed when a frame is waited for; see ``maskstream.pipeline.session.ports.Decoder``.

    It has no thread: on a CPU, torch keeps all cores busy while it tracks, and decoding ahead would
    only compete with it. Live sources have a thread of their own.

    Args:
        open_feed: opens the source.
    """

    def __init__(self, open_feed: Callable[[], Feed]) -> None:
        self._feed = open_feed()

    def begin(self, start: int, *, reverse: bool) -> None:
        self._feed.begin(start, reverse=reverse)

    def next(self, timeout_s: float) -> LocalNote:
        return LocalNote(self._feed, timeout_s)

    def read(self, index: int) -> Delivery:
        return self._feed.read(index)

    def look(self) -> FrameNote:
        return self._feed.look()

    def note_done(self, index: int) -> None:
        self._feed.note_done(index)

    def check(self) -> None:
        """Nothing hangs that does not hang the session too."""

    def close(self) -> None:
        self._feed.close()


class LocalNote:
    """The next note of a feed, read when it is waited for; see ``PendingNote``.

    Args:
        feed: gives the note.
        timeout_s: how long the feed may wait before it says that there is no frame yet.
    """

    handle = None

    def __init__(self, feed: Feed, timeout_s: float) -> None:
        self._feed = feed
        self._timeout_s = timeout_s
        self._delivery: Delivery | None = None

    def wait(self, timeout_s: float) -> bool:
        if self._delivery is None:
            self._delivery = self._feed.next(min(timeout_s, self._timeout_s))
        return True

    def result(self) -> Delivery:
        if self._delivery is None:
            self._delivery = self._feed.next(self._timeout_s)
        return self._delivery
