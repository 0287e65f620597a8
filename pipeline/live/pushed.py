"""Frames that a client pushes, in the same queue and on the same account as all others."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from maskstream.core.closing import Closing
from maskstream.core.errors import ImageError, InputError, SourceError
from maskstream.core.pictures import Picture, picture_to_rgb
from maskstream.pipeline.live.buffer import FrameBuffer, Producer
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.frames import GapCause, LiveFrame, LiveState, LiveStats
from maskstream.pipeline.live.thread import cut

MAX_PUSHED_PIXELS = 2**26


class PushedSource(Closing):
    """Frames handed in by ``push``; any thread may push, one at a time consumes.

    With ``policy="block"``, and ``auto`` too, since a client that pushes can wait, ``push``
    waits for room; with ``drop_oldest`` it never does.
    """

    def __init__(self, config: LiveConfig, *, max_pixels: int = MAX_PUSHED_PIXELS) -> None:
        """Wait for frames.

        Args:
            config: queue, policy, sampling and region of interest; the rest is of no use here.
            max_pixels: largest picture that is taken.
        """
        self._config = config
        self._max_pixels = max_pixels
        self._buffer = FrameBuffer(
            replace(config, policy="drop_oldest" if config.policy == "drop_oldest" else "block")
        )
        self._producer = Producer()
        self._turn = threading.Lock()  # one push at a time, so that frames stay in order
        self._state = LiveState.RUNNING
        self._buffer.begin(self._producer, GapCause.RECONNECT, is_live=False)

    def push(self, image: Picture, pts_s: float | None = None) -> bool:
        """Hand in one picture; it is copied.

        Args:
            image: see ``picture_to_rgb``.
            pts_s: its presentation time in seconds, where it has one.

        Returns:
            Whether it will be delivered, as far as can be told now: False when sampling left it
            out, or the source was closed meanwhile.

        Raises:
            ImageError: not a picture, or larger than ``max_pixels``; nothing has changed.
            InputError: the time is not a finite number.
            SourceError: no more frames are taken: ``finish`` or ``close`` was called.
        """
        if pts_s is not None and not math.isfinite(pts_s):
            raise InputError(f"pts_s is {pts_s}; expected seconds as a finite number, or None")
        rgb = self._checked(image)
        with self._turn, self._buffer.changed:
            if self._state != LiveState.RUNNING:
                raise SourceError(f"the source takes no more frames: it is {self._state}")
            height, width = rgb.shape[:2]
            ticket = self._buffer.admit(self._producer, pts_s, (width, height))
            if ticket is None:
                return False
            rgb, crop = cut(rgb, self._config.region)
            return self._buffer.submit(self._producer, ticket, rgb, crop)

    def _checked(self, image: Picture) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        size = image.shape[:2] if isinstance(image, np.ndarray) else getattr(image, "size", ())
        if math.prod(size) > self._max_pixels:
            raise ImageError(
                f"the picture has {math.prod(size):,} pixels; expected {self._max_pixels:,} at most"
            )
        rgb = picture_to_rgb(image)
        # The caller may go on painting into the same array.
        return rgb.copy() if isinstance(image, np.ndarray) else rgb

    def finish(self) -> None:
        """No more frames will come; what waits is still delivered."""
        with self._buffer.changed:
            if self._state == LiveState.RUNNING:
                self._state = LiveState.ENDED
                self._buffer.finish()

    @property
    def state(self) -> LiveState:
        """``running`` until ``finish`` or ``close``."""
        return self._state

    @property
    def is_over(self) -> bool:
        """Whether no frame will come any more."""
        return self._buffer.is_over

    def read(self, timeout_s: float | None = None) -> LiveFrame | None:
        """The next frame; None when none came in time, or at the end (see ``is_over``)."""
        return self._buffer.take(timeout_s)

    def __iter__(self) -> Iterator[LiveFrame]:
        """The frames from now on."""
        while (frame := self._buffer.take()) is not None:
            yield frame

    def stats(self) -> LiveStats:
        """All figures of one moment."""
        with self._buffer.changed:
            counts = self._buffer.counts()
            return LiveStats(
                state=self._state,
                last_fault=None,
                decoded=counts.decoded,
                delivered=counts.delivered,
                waiting=counts.waiting,
                dropped=counts.dropped,
                epoch=counts.epoch,
                num_connections=1,
                num_attempts=1,
                num_stalls=0,
                num_bad_packets=0,
                fps=counts.fps,
                delivered_fps=counts.delivered_fps,
                lag_s=counts.lag_s,
                size=counts.size,
                codec=None,
            )

    def close(self) -> None:
        """Drop and count what waits; those who push or read go on."""
        with self._buffer.changed:
            if self._state != LiveState.ENDED:
                self._state = LiveState.CLOSED
            self._buffer.close()
            self._buffer.cancel(self._producer)
