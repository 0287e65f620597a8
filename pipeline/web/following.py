"""Follows the results of sessions for many readers.

A session that somebody follows has one *tail*: a thread that waits for new results and keeps the
newest ones, ready to be sent. Readers that keep up read from it. One that falls behind reads from
the store until it has caught up, at its own pace: it delays nobody, and nothing is kept for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread

from maskstream.core.error_text import error_text
from maskstream.core.errors import MaskstreamError, SessionNotFoundError, StoreError
from maskstream.pipeline.client.answers import session_answer
from maskstream.pipeline.store import ResultPage, SessionStore
from maskstream.pipeline.web.forms import result_message, to_bytes

_KEPT_ENTRIES = 256
_KEPT_BYTES = 8 * 2**20
_PAGE = 64
_WAIT_S = 1.0
_SESSION_EVERY_S = 1.0
HEARTBEAT_S = 15.0
# Threads that read old results from the store, for all readers together.
_CATCHING_UP = 8


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a reader is told.

    Attributes:
        kind: ``frame``: a result. ``missed``: the log has dropped results before they were read.
            ``session``: what the session is doing now. ``end``: no more results will come.
            ``error``: the results cannot be read; the reader may come again later.
            ``heartbeat``: nothing has happened for a while.
        data: JSON, encoded.
        cursor: where to read on after it; None if that has not changed.
    """

    kind: str
    data: bytes = b"{}"
    cursor: int | None = None


class Following:
    """The tails of all sessions that are followed in this process.

    Args:
        store: holds the sessions.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._tails: dict[str, _Tail] = {}
        self._limiter = CapacityLimiter(_CATCHING_UP)

    async def events(
        self, session_id: str, cursor: int, *, pictures: bool = False
    ) -> AsyncGenerator[Event]:
        """Everything that happens in a session, from a cursor on, until it is over.

        Args:
            pictures: the reader shows the pictures of the frames.

        Raises:
            SessionNotFoundError: there is no such session.
            InputError: the cursor is ahead of the log.
        """
        record = await to_thread.run_sync(self._store.get_session, session_id)
        await self._read(session_id, cursor, 1)  # raises if the cursor cannot be used
        tail = self._tail(session_id, record.result_sequence)
        tail.num_readers += 1
        tail.num_viewers += pictures
        try:
            reader = _Reader(tail, cursor)
            while not reader.is_over:
                if reader.cursor < tail.first_kept:
                    page = await self._read(session_id, reader.cursor, _PAGE)
                    for event in reader.take_page(page):
                        yield event
                    continue
                for event in reader.take_kept():
                    yield event
                if not reader.is_over and not await tail.changed(reader.seen):
                    yield Event("heartbeat")
        finally:
            tail.num_readers -= 1
            tail.num_viewers -= pictures
            if tail.num_readers == 0:
                tail.stop()
                if self._tails.get(session_id) is tail:
                    del self._tails[session_id]

    def close(self) -> None:
        """End all tails; their readers end, too."""
        for tail in self._tails.values():
            tail.stop()

    def _tail(self, session_id: str, sequence: int) -> _Tail:
        tail = self._tails.get(session_id)
        if tail is None or tail.is_over:
            tail = _Tail(self._store, session_id, sequence)
            self._tails[session_id] = tail
        return tail

    async def _read(self, session_id: str, cursor: int, count: int) -> ResultPage:
        def read() -> ResultPage:
            return self._store.read_results(session_id, cursor, count=count)

        return await to_thread.run_sync(read, limiter=self._limiter)


def session_state(store: SessionStore, session_id: str) -> dict[str, Any]:
    """The answer of ``get_session``, and ``is_served``: no runtime is known to be gone."""
    answer = session_answer(store.get_session(session_id))
    claim = store.get_claim(session_id)
    return answer | {"is_served": claim is None or not claim.has_run_out}


class _Reader:
    """How far one reader has come."""

    def __init__(self, tail: _Tail, cursor: int) -> None:
        self._tail = tail
        self._session: bytes | None = None
        self.cursor = cursor
        self.seen = -1
        self.is_over = False

    def take_page(self, page: ResultPage) -> list[Event]:
        """What a page of the log says."""
        events = []
        if page.num_missed:
            events.append(Event("missed", to_bytes({"num_missed": page.num_missed})))
        first = page.cursor - len(page.entries) + 1
        for cursor, entry in enumerate(page.entries, first):
            if entry.kind == "frame":
                events.append(Event("frame", to_bytes(result_message(entry, cursor)), cursor))
        # A page that leads nowhere means that the log holds nothing more before what is kept.
        self.cursor = page.cursor if page.cursor > self.cursor else self._tail.first_kept
        return events

    def take_kept(self) -> list[Event]:
        """What the tail has that this reader has not been told."""
        with self._tail.lock:
            self.seen = self._tail.version
            events = [event for event in self._tail.kept if (event.cursor or 0) > self.cursor]
            newest, session = self._tail.newest, self._tail.session
            is_over = self._tail.is_over
        self.cursor = max(self.cursor, newest)
        events = [event for event in events if event.kind == "frame"]
        if session is not None and session is not self._session:
            self._session = session
            events.append(Event("session", session))
        if is_over:
            events += self._end()
        return events

    def _end(self) -> list[Event]:
        self.is_over = True
        end = self._tail.end
        return [Event("end")] if end is None else [end]


class _Tail:
    """The newest results of one session, and what the session is doing.

    Attributes:
        kept: the newest entries of the log, in order; those that are no frames, too.
        newest: cursor after the newest of them.
        session: the answer of ``get_session``, as JSON; None before the first.
        end: the event that ends all readers, or None.
        version: goes up with every change.
    """

    def __init__(self, store: SessionStore, session_id: str, sequence: int) -> None:
        self._store = store
        self._session_id = session_id
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._stop = threading.Event()
        self._kept_bytes = 0
        self._session_s = float("-inf")
        self.lock = threading.Lock()
        self.kept: deque[Event] = deque()
        self.newest = sequence
        self.first_kept = sequence
        self.session: bytes | None = None
        self.end: Event | None = None
        self.is_over = False
        self.version = 0
        self.num_readers = 0
        self.num_viewers = 0
        self._thread = threading.Thread(target=self._run, name="web-tail", daemon=True)
        self._thread.start()

    async def changed(self, seen: int) -> bool:
        """Wait until there is something new since version ``seen``; False after a heartbeat."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_S):
                while self.version == seen:
                    news = self._news
                    if self.version == seen:
                        await news.wait()
        return self.version != seen

    def stop(self) -> None:
        """End the thread, and with it the readers."""
        self._stop.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self.end is None:
                self._step()
        except SessionNotFoundError:
            self.end = Event("end")  # it was closed
        except MaskstreamError as error:
            self.end = Event("error", to_bytes({"message": error_text(error)}))
        finally:
            self._change(is_over=True)

    def _step(self) -> None:
        try:
            page = self._store.read_results(
                self._session_id, self.newest, count=_PAGE, timeout_s=_WAIT_S
            )
        except StoreError as error:
            if error.resume_after is None:
                raise
            self._keep([], error.resume_after)  # an entry that cannot be read is passed over
            return
        first = page.cursor - len(page.entries) + 1
        events = [
            Event("frame", to_bytes(result_message(entry, cursor)), cursor)
            if entry.kind == "frame"
            else Event("run_end", b"{}", cursor)
            for cursor, entry in enumerate(page.entries, first)
        ]
        self._keep(events, page.cursor)
        self._look(now=page.is_end)
        if page.is_end:
            self.end = Event("end", self.session or b"{}")

    def _look(self, *, now: bool) -> None:
        now_s = time.monotonic()
        if not now and now_s - self._session_s < _SESSION_EVERY_S:
            return
        self._session_s = now_s
        if self.num_viewers:
            self._store.pictures.watch(self._session_id)
        session = to_bytes(session_state(self._store, self._session_id))
        if session != self.session:
            self.session = session
            self._change()

    def _keep(self, events: list[Event], newest: int) -> None:
        if newest == self.newest:
            return
        with self.lock:
            self.kept.extend(events)
            self._kept_bytes += sum(len(event.data) for event in events)
            while self.kept and (len(self.kept) > _KEPT_ENTRIES or self._kept_bytes > _KEPT_BYTES):
                dropped = self.kept.popleft()
                self._kept_bytes -= len(dropped.data)
                self.first_kept = dropped.cursor or self.first_kept
            self.newest = newest
        self._change()

    def _change(self, *, is_over: bool = False) -> None:
        with self.lock:
            self.version += 1
            self.is_over = self.is_over or is_over
        with suppress(RuntimeError):  # the loop has ended, and its readers with it
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
