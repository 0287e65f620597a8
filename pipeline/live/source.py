"""A source that runs by itself: it connects, reads ahead, and reconnects after every fault."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator

from maskstream.core.closing import Closing
from maskstream.pipeline.live.backoff import Backoff
from maskstream.pipeline.live.buffer import FrameBuffer
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.faults import LiveSourceError
from maskstream.pipeline.live.frames import (
    Fault,
    FaultKind,
    GapCause,
    LiveFrame,
    LiveState,
    LiveStats,
)
from maskstream.pipeline.live.reader import Connector
from maskstream.pipeline.live.thread import ReaderThread
from maskstream.pipeline.live.url import SourceAddress

_LOG = logging.getLogger("maskstream.live")

# FFmpeg's calls end a little after their time-out; after this much more they are given up.
_OPEN_GRACE_S = 1.0
_CLOSE_WAIT_S = 1.0
_MAX_ABANDONED = 3
_FINAL = frozenset({FaultKind.FORBIDDEN, FaultKind.UNSUPPORTED, FaultKind.DEFECT})


class LiveSource(Closing):
    """Gives the frames of a stream, a camera or a file, which its own threads decode ahead.

    Iteration waits for the next frame, ends where a file ends or when the source is closed, and
    raises ``LiveSourceError`` when the source has failed. It has one consumer at a time.

    ``close()`` returns within two seconds, as neither it nor the watchdog ever waits for FFmpeg.
    Threads: the *supervisor* starts a *reader* for each connection, watches it, and decides what
    comes next; readers alone call FFmpeg. A reader that blocks is cancelled and abandoned. It ends
    by itself within the open or read time-out; there are never more than three of them.
    """

    def __init__(
        self,
        address: SourceAddress,
        config: LiveConfig,
        connector: Connector,
        *,
        rng: random.Random | None = None,
    ) -> None:
        """Start to connect, and return at once.

        Args:
            address: where the frames come from.
            config: how to connect, wait, drop and crop.
            connector: opens one connection.
            rng: draws the jitter of the back-off.
        """
        self._address = address
        self._config = config
        self._connector = connector
        self._buffer = FrameBuffer(config)
        self._changed = self._buffer.changed
        self._backoff = Backoff(
            config.backoff_min_s,
            config.backoff_max_s,
            config.backoff_jitter,
            rng if rng is not None else random.Random(),
        )
        self._state = LiveState.CONNECTING
        self._last_fault: Fault | None = None
        self._is_closed = False
        self._num_attempts = 0
        self._num_connections = 0
        self._num_stalls = 0
        self._num_bad_packets = 0
        self._codec: str | None = None
        self._reader: ReaderThread | None = None
        self._abandoned: list[ReaderThread] = []
        self._supervisor = threading.Thread(
            target=self._supervise, name="live-supervisor", daemon=True
        )
        self._supervisor.start()

    @property
    def address(self) -> SourceAddress:
        """Where the frames come from; shows no credentials."""
        return self._address

    @property
    def state(self) -> LiveState:
        """What the source is doing."""
        with self._changed:
            return self._state

    @property
    def last_fault(self) -> Fault | None:
        """What went wrong last, even if it no longer does."""
        with self._changed:
            return self._last_fault

    def stats(self) -> LiveStats:
        """All figures of one moment."""
        with self._changed:
            counts = self._buffer.counts()
            reader = self._reader
            return LiveStats(
                state=self._state,
                last_fault=self._last_fault,
                decoded=counts.decoded,
                delivered=counts.delivered,
                waiting=counts.waiting,
                dropped=counts.dropped,
                epoch=counts.epoch,
                num_connections=self._num_connections,
                num_attempts=self._num_attempts,
                num_stalls=self._num_stalls,
                num_bad_packets=self._num_bad_packets + (reader.num_bad_packets if reader else 0),
                fps=counts.fps,
                delivered_fps=counts.delivered_fps,
                lag_s=counts.lag_s,
                size=counts.size,
                codec=self._codec,
            )

    def read(self, timeout_s: float | None = None) -> LiveFrame | None:
        """The next frame; None when none came in time, or at the end (see ``is_over``).

        Raises:
            LiveSourceError: the source has failed for good.
        """
        return self._buffer.take(timeout_s)

    @property
    def is_over(self) -> bool:
        """Whether no frame will come any more."""
        return self._buffer.is_over

    def __iter__(self) -> Iterator[LiveFrame]:
        """The frames from now on."""
        while (frame := self._buffer.take()) is not None:
            yield frame

    def wait_for(self, condition: Callable[[LiveStats], bool], timeout_s: float) -> bool:
        """Wait until the figures meet a condition; it is looked at whenever they change.

        Returns:
            Whether they did in time.
        """
        return self._buffer.wait_for(lambda: condition(self.stats()), timeout_s)

    def close(self) -> None:
        """Stop at once; frames that wait are dropped and counted. May be called twice."""
        with self._changed:
            self._is_closed = True
            if self._state not in (LiveState.ENDED, LiveState.FAILED):
                self._state = LiveState.CLOSED
            reader = self._reader
            self._buffer.close()
            if reader is not None:
                self._buffer.cancel(reader.producer)
        if threading.current_thread() is not self._supervisor:
            self._supervisor.join(_CLOSE_WAIT_S)
        if reader is not None:
            reader.join(_CLOSE_WAIT_S / 2)

    def wait_released(self, timeout_s: float) -> bool:
        """After ``close()``: wait until the last thread has ended.

        Returns:
            Whether all have ended in time.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            threads = [self._supervisor, *self._abandoned]
            threads += [self._reader] if self._reader is not None else []
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # The supervisor's thread.

    def _supervise(self) -> None:
        cause = GapCause.RECONNECT
        last_frame_s = time.monotonic()
        while (reader := self._start_reader(cause)) is not None:
            error = self._watch(reader)
            if reader.is_done:
                reader.join()  # it is about to end
            with self._changed:
                self._num_bad_packets += reader.num_bad_packets
                self._reader = None
                if self._is_closed:
                    return
            if reader.producer.num_frames:
                last_frame_s = reader.producer.progress_s
            if error is None:
                if self._config.loop and reader.producer.num_frames:
                    cause = GapCause.LOOP
                    continue
                self._finish(LiveState.ENDED, None)
                return
            cause = GapCause.RECONNECT
            self._note(error.fault)
            limit_s = math.inf
            if self._config.max_reconnect_s is not None:
                limit_s = last_frame_s + self._config.max_reconnect_s
            if self._is_final(error.fault, reader) or time.monotonic() >= limit_s:
                self._finish(LiveState.FAILED, error)
                return
            self._pause(error.fault, limit_s)

    def _start_reader(self, cause: GapCause) -> ReaderThread | None:
        """Start the next attempt, once few enough readers block; None when the source is closed."""
        with self._changed:
            while not self._is_closed:
                self._abandoned = [reader for reader in self._abandoned if reader.is_alive()]
                if len(self._abandoned) < _MAX_ABANDONED:
                    break
                self._state = LiveState.WAITING
                self._changed.wait(self._config.backoff_max_s)
            if self._is_closed:
                return None
            self._num_attempts += 1
            self._state = LiveState.CONNECTING
            reader = ReaderThread(self._address, self._config, self._connector, self._buffer, cause)
            self._reader = reader
            reader.start()
            return reader

    def _watch(self, reader: ReaderThread) -> LiveSourceError | None:
        """Wait until a reader ends, or abandon it. Returns why; None at the end of a file."""
        producer = reader.producer
        with self._changed:
            while not (reader.is_done or self._is_closed):
                if producer.num_frames and self._state == LiveState.CONNECTING:
                    self._state = LiveState.RUNNING
                    self._num_connections += 1
                    self._codec = reader.codec
                    self._backoff.reset()
                    self._changed.notify_all()
                    _LOG.info("%s: connected (%s)", reader.address, reader.codec)
                left_s = self._time_left_s(reader)
                if left_s <= 0:
                    return self._give_up(reader)
                self._changed.wait(left_s)
            if not reader.is_done:
                self._abandon(reader)
            elif producer.num_frames and self._state == LiveState.CONNECTING:
                self._num_connections += 1
                self._codec = reader.codec
            return reader.error

    def _time_left_s(self, reader: ReaderThread) -> float:
        """Seconds until the watchdog gives this connection up."""
        if self._address.kind == "file":
            return threading.TIMEOUT_MAX
        now_s = time.monotonic()
        if not reader.is_open:
            # Opening and probing a stream have the time-out each.
            limit_s = 2 * self._config.open_timeout_s + _OPEN_GRACE_S
            return reader.started_s + limit_s - now_s
        if reader.producer.is_blocked:
            return self._config.stall_timeout_s
        return reader.producer.progress_s + self._config.stall_timeout_s - now_s

    def _give_up(self, reader: ReaderThread) -> LiveSourceError:
        self._abandon(reader)
        if not reader.is_open:
            what = f"no answer within {time.monotonic() - reader.started_s:.1f} s"
            return LiveSourceError.of(FaultKind.TIMED_OUT, reader.address, what)
        self._num_stalls += 1
        what = f"no new frame for {self._config.stall_timeout_s:g} s"
        return LiveSourceError.of(FaultKind.STALLED, reader.address, what)

    def _abandon(self, reader: ReaderThread) -> None:
        self._buffer.cancel(reader.producer)
        self._abandoned.append(reader)

    def _note(self, fault: Fault) -> None:
        with self._changed:
            is_news = self._last_fault is None or self._last_fault.kind != fault.kind
            self._last_fault = fault
            self._changed.notify_all()
        # A camera that is off for a night is one line in the log, not one for every attempt.
        _LOG.log(
            logging.WARNING if is_news else logging.DEBUG, "%s (%s)", fault.message, fault.kind
        )

    def _is_final(self, fault: Fault, reader: ReaderThread) -> bool:
        """Whether another attempt would be of no use."""
        if self._address.kind == "file" or fault.kind in _FINAL:
            return True
        return reader.is_open and not reader.is_live

    def _pause(self, fault: Fault, limit_s: float) -> None:
        """Wait until the next attempt is due, or the source is closed."""
        pause_s = self._backoff.next_s()
        if fault.kind == FaultKind.UNAUTHORIZED:
            pause_s = max(pause_s, self._config.unauthorized_pause_s)
        # The last attempt is made at the limit, even if the pause would be longer.
        until_s = min(time.monotonic() + pause_s, limit_s)
        with self._changed:
            if not self._is_closed:
                self._state = LiveState.WAITING
                self._changed.notify_all()
            while not self._is_closed:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return
                self._changed.wait(left_s)

    def _finish(self, state: LiveState, error: LiveSourceError | None) -> None:
        with self._changed:
            if not self._is_closed:
                self._state = state
            self._buffer.finish(error)
