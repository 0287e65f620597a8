"""The thread of one connection."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from maskstream.pipeline.live.buffer import FrameBuffer, Producer
from maskstream.pipeline.live.config import LiveConfig, Region
from maskstream.pipeline.live.faults import LiveSourceError
from maskstream.pipeline.live.frames import Crop, FaultKind, GapCause
from maskstream.pipeline.live.reader import Connection, Connector, DecodedFrame
from maskstream.pipeline.live.url import SourceAddress


class ReaderThread(threading.Thread):
    """Opens a connection, and decodes, converts and hands over its frames until it is cancelled."""

    def __init__(
        self,
        address: SourceAddress,
        config: LiveConfig,
        connector: Connector,
        buffer: FrameBuffer,
        cause: GapCause,
    ) -> None:
        super().__init__(name="live-reader", daemon=True)
        self.address = address
        self.producer = Producer()
        self.started_s = time.monotonic()
        self.is_open = False
        self.is_live = True
        self.is_done = False
        self.error: LiveSourceError | None = None
        self.codec: str | None = None
        self.num_bad_packets = 0
        self._config = config
        self._connector = connector
        self._buffer = buffer
        self._cause = cause

    def run(self) -> None:
        """Read one connection to its end."""
        # Stays so after an exception that nobody expects; Python reports its traceback.
        error: LiveSourceError | None = LiveSourceError.of(
            FaultKind.DEFECT, self.address, "the reader has failed by a defect of its own"
        )
        try:
            self._read()
            error = None
        except LiveSourceError as caught:
            error = caught
        finally:
            with self._buffer.changed:
                self.error = error
                self.is_done = True
                self._buffer.changed.notify_all()

    def _read(self) -> None:
        connection = self._connector(self.address, self._config)
        try:
            self._begin(connection)
            with closing(connection.frames()) as frames:
                for frame in frames:
                    self.num_bad_packets = connection.num_bad_packets
                    self._hand_over(frame)
                    if self.producer.is_cancelled:
                        return
        finally:
            self.num_bad_packets = connection.num_bad_packets
            connection.close()

    def _hand_over(self, frame: DecodedFrame) -> None:
        ticket = self._buffer.admit(
            self.producer, frame.pts_s, frame.size, is_corrupt=frame.is_corrupt
        )
        if ticket is None:
            return
        image = frame.to_rgb()
        if image is None:
            self._buffer.discard(self.producer)
            return
        self._buffer.submit(self.producer, ticket, *cut(image, self._config.region))

    def _begin(self, connection: Connection) -> None:
        with self._buffer.changed:
            self.is_open, self.is_live = True, connection.is_live
            self.codec = connection.codec
            self.producer.progress_s = time.monotonic()
            blocks = None if self._config.policy != "auto" else not connection.is_live
            self._buffer.begin(
                self.producer,
                self._cause,
                is_live=connection.is_live,
                is_clocked=connection.is_clocked,
                blocks=blocks,
            )
            self._buffer.changed.notify_all()


def cut(image: NDArray[np.uint8], region: Region | None) -> tuple[NDArray[np.uint8], Crop | None]:
    """Cut a region out of (H, W, 3), as a copy: the whole picture can be freed."""
    if region is None:
        image.flags.writeable = False
        return image, None
    height, width = image.shape[:2]
    x0, y0, x1, y1 = region.pixels(width, height)
    part = np.ascontiguousarray(image[y0:y1, x0:x1])
    part.flags.writeable = False
    return part, Crop(x0, y0, width, height)
