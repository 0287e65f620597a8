"""The bounded queue from a decoding thread to a consumer, which accounts for every frame."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import SourceError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.frames import Crop, DropReason, Gap, GapCause, LiveFrame
from maskstream.pipeline.live.sampling import FrameSampler
from maskstream.pipeline.live.timeline import Timeline

_RATE_WINDOW_S = 4.0


class Producer:
    """What the buffer knows of one connection. Only the buffer changes it, under its lock."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.is_blocked = False
        self.num_frames = 0
        self.num_converting = 0
        self.progress_s = time.monotonic()


@dataclass(frozen=True, slots=True)
class Ticket:
    """A frame that was decoded and counted; its picture is still being converted."""

    stamp: FrameStamp
    clock_s: float


@dataclass(frozen=True, slots=True)
class Counts:
    """``decoded == delivered + waiting + sum(dropped)``, at any moment."""

    decoded: int
    delivered: int
    waiting: int
    dropped: Mapping[DropReason, int]
    epoch: int
    size: tuple[int, int] | None
    fps: float
    delivered_fps: float
    lag_s: float


class FrameBuffer:
    """Counts every frame, gives it an epoch and a gap, and keeps the newest for the consumer.

    One producer at a time writes: it calls ``admit`` for every decoded frame, then ``submit`` for
    those that got a ticket. The calls of a producer that was cancelled change nothing.

    One re-entrant lock guards everything. It has three conditions, so that a frame wakes only the
    thread that needs it: the consumer that waits for a frame, the producer that waits for room,
    and all others by ``changed``. This is notified of every producer's first frame and of every
    end; of other frames only while a thread is in ``wait_for``.
    """

    def __init__(self, config: LiveConfig) -> None:
        self._stale_after_s = config.stale_after_s
        self._capacity = config.queue_size
        self._is_clocked = True
        self._drop_corrupt = config.drop_corrupt
        self._blocks = config.policy == "block"
        self._timeline = Timeline(config.pts_jump_s, config.silence_gap_s)
        self._sampler = FrameSampler(config.every_nth, config.target_fps)
        self._queue: deque[tuple[LiveFrame, float]] = deque()
        self._carried: Gap | None = None
        self._num_decoded = 0
        self._num_delivered = 0
        self._num_converting = 0
        self._dropped: Counter[DropReason] = Counter()
        self._lag_s = 0.0
        self._decoded_rate = _Rate()
        self._delivered_rate = _Rate()
        self._is_finished = False
        self._is_closed = False
        self._error: SourceError | None = None
        self._num_observers = 0
        lock = threading.RLock()
        self._arrived = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self.changed = threading.Condition(lock)

    # What the producer calls.

    def begin(
        self,
        producer: Producer,
        cause: GapCause,
        *,
        is_live: bool,
        is_clocked: bool = True,
        blocks: bool | None = None,
    ) -> None:
        """Note that a connection is open; its frames follow.

        Args:
            producer: of the connection.
            cause: ``RECONNECT``, or ``LOOP`` for a new pass over a file.
            is_live: the source sets the pace of its frames, not the reader.
            is_clocked: the frames have times of their own, not those of their arrival.
            blocks: when the queue is full, the producer waits, and no frame is dropped; None: as
                configured.
        """
        with self.changed:
            if producer.is_cancelled:
                return
            self._timeline.begin(cause, is_live=is_live)
            self._is_clocked = is_clocked
            if blocks is not None:
                self._blocks = blocks

    def admit(
        self,
        producer: Producer,
        pts_s: float | None,
        size: tuple[int, int],
        *,
        is_corrupt: bool = False,
    ) -> Ticket | None:
        """Count a decoded frame. Returns None when its picture is not wanted."""
        with self.changed:
            if producer.is_cancelled or self._is_closed:
                return None
            clock_s = producer.progress_s = time.monotonic()
            placed = self._timeline.place(pts_s, clock_s, size)
            index = self._num_decoded
            self._num_decoded += 1
            producer.num_frames += 1
            self._decoded_rate.note(clock_s)
            self._tell(is_news=producer.num_frames == 1)
            if placed.gap is not None:
                self._carry(placed.gap)
            if is_corrupt and self._drop_corrupt:
                self._drop(DropReason.CORRUPT)
                return None
            has_arrived = not self._is_clocked
            if not self._sampler.keeps(index, placed.epoch, placed.time_s, has_arrived=has_arrived):
                self._dropped[DropReason.SAMPLING] += 1
                return None
            producer.num_converting += 1
            self._num_converting += 1
            return Ticket(FrameStamp(index, pts_s, time.time(), placed.epoch), clock_s)

    def submit(
        self,
        producer: Producer,
        ticket: Ticket,
        image: NDArray[np.uint8],
        crop: Crop | None = None,
    ) -> bool:
        """Put a picture into the queue; wait for room first, if the policy is to block.

        Returns:
            False when the producer was cancelled or the buffer closed: then stop decoding.
        """
        with self.changed:
            if self._blocks and len(self._queue) >= self._capacity:
                self._wait_for_room(producer)
            producer.progress_s = time.monotonic()
            if producer.is_cancelled or self._is_closed:
                return False
            producer.num_converting -= 1
            self._num_converting -= 1
            if len(self._queue) >= self._capacity:
                self._drop_oldest(DropReason.QUEUE_FULL)
            gap, self._carried = self._carried, None
            lost_s = 0.0 if gap is None else max(0.0, gap.lost_s)
            size = (image.shape[0], image.shape[1])
            stamp = replace(ticket.stamp, gap_s=lost_s, size=size)
            self._queue.append((LiveFrame(stamp, gap, image, crop), ticket.clock_s))
            self._arrived.notify()
            self._tell()
            return True

    def discard(self, producer: Producer) -> None:
        """Give a ticket back: its frame cannot be converted."""
        with self.changed:
            if not producer.is_cancelled:
                self._release(producer, DropReason.CORRUPT)

    def cancel(self, producer: Producer) -> None:
        """Cancel a producer: its calls change nothing from now on."""
        with self.changed:
            if not producer.is_cancelled:
                self._release(producer, DropReason.ABANDONED)
                producer.is_cancelled = True
                self._tell_all()

    def finish(self, error: SourceError | None = None) -> None:
        """End the frames: those that wait are still delivered, then ``error`` is raised."""
        with self.changed:
            self._is_finished = True
            self._error = error
            self._tell_all()

    # What the consumer calls.

    def take(self, timeout_s: float | None = None) -> LiveFrame | None:
        """Take the oldest frame that waits.

        Returns:
            None when none came within ``timeout_s``, or when ``is_over``.

        Raises:
            SourceError: the source has failed, and all frames before that were delivered.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self.changed:
            while True:
                self._drop_stale()
                if self._queue:
                    return self._deliver()
                if self._is_closed:
                    return None
                if self._is_finished and not self._num_converting:
                    if self._error is not None:
                        raise self._error
                    return None
                remaining_s = None if deadline_s is None else deadline_s - time.monotonic()
                if remaining_s is not None and remaining_s <= 0:
                    return None
                self._arrived.wait(remaining_s)

    @property
    def is_over(self) -> bool:
        """Whether no frame will be delivered any more."""
        with self.changed:
            is_empty = not self._queue and not self._num_converting
            return self._is_closed or (self._is_finished and is_empty)

    def close(self) -> None:
        """Drop the frames that wait, and wake all threads that wait."""
        with self.changed:
            self._is_closed = True
            while self._queue:
                self._drop_oldest(DropReason.CLOSED)
            if self._num_converting:
                self._dropped[DropReason.CLOSED] += self._num_converting
            self._num_converting = 0
            self._tell_all()

    def counts(self) -> Counts:
        """All figures of one moment."""
        with self.changed:
            now_s = time.monotonic()
            return Counts(
                decoded=self._num_decoded,
                delivered=self._num_delivered,
                waiting=len(self._queue) + self._num_converting,
                dropped=dict(self._dropped),
                epoch=self._timeline.epoch,
                size=self._timeline.size,
                fps=self._decoded_rate.per_second(now_s),
                delivered_fps=self._delivered_rate.per_second(now_s),
                lag_s=self._lag_s,
            )

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition holds; it is looked at after every change."""
        with self.changed:
            self._num_observers += 1
            try:
                return self.changed.wait_for(condition, timeout_s)
            finally:
                self._num_observers -= 1

    # Under the lock.

    def _tell(self, *, is_news: bool = False) -> None:
        if is_news or self._num_observers:
            self.changed.notify_all()

    def _tell_all(self) -> None:
        for condition in (self._arrived, self._room, self.changed):
            condition.notify_all()

    def _wait_for_room(self, producer: Producer) -> None:
        """Wait until half of the queue is free, so that threads do not switch at every frame."""
        producer.is_blocked = True
        self._tell()
        while len(self._queue) > self._capacity // 2 and not (
            producer.is_cancelled or self._is_closed
        ):
            self._room.wait()
        producer.is_blocked = False

    def _deliver(self) -> LiveFrame:
        frame, clock_s = self._queue.popleft()
        now_s = time.monotonic()
        self._num_delivered += 1
        self._delivered_rate.note(now_s)
        self._lag_s = now_s - clock_s
        if len(self._queue) <= self._capacity // 2:
            self._room.notify()
        self._tell()
        return frame

    def _drop_stale(self) -> None:
        if self._stale_after_s is None:
            return
        oldest_s = time.monotonic() - self._stale_after_s
        while self._queue and self._queue[0][1] < oldest_s:
            self._drop_oldest(DropReason.STALE)
            self._room.notify()
            self._tell()

    def _drop_oldest(self, reason: DropReason) -> None:
        """Drop the frame at the head of the queue; the next one takes over the gap before it."""
        frame, _ = self._queue.popleft()
        self._dropped[reason] += 1
        gap = Gap(1, 0.0, (GapCause.DROPPED,))
        gap = gap if frame.gap is None else frame.gap.then(gap)
        if self._queue:
            head, clock_s = self._queue[0]
            self._queue[0] = (replace(head, gap=gap.then(head.gap)), clock_s)
        else:
            self._carried = gap.then(self._carried)

    def _drop(self, reason: DropReason) -> None:
        """Drop a frame that has not got into the queue."""
        self._dropped[reason] += 1
        self._carry(Gap(1, 0.0, (GapCause.DROPPED,)))

    def _carry(self, gap: Gap) -> None:
        self._carried = gap if self._carried is None else self._carried.then(gap)

    def _release(self, producer: Producer, reason: DropReason) -> None:
        if self._is_closed:  # ``close`` has counted them
            return
        for _ in range(producer.num_converting):
            self._drop(reason)
        self._num_converting -= producer.num_converting
        producer.num_converting = 0


class _Rate:
    """Events per second over the last few seconds."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=256)

    def note(self, now_s: float) -> None:
        self._times_s.append(now_s)

    def per_second(self, now_s: float) -> float:
        """Events per second; 0 where the last seconds have had fewer than two."""
        while self._times_s and self._times_s[0] < now_s - _RATE_WINDOW_S:
            self._times_s.popleft()
        if len(self._times_s) < 2:
            return 0.0
        elapsed_s = now_s - self._times_s[0]
        return (len(self._times_s) - 1) / elapsed_s if elapsed_s > 0 else 0.0
