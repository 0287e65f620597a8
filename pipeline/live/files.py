"""Files and folders as connections: no frame is lost, and they end."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import ImageError, InputError, SourceError
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.live.faults import LiveSourceError
from maskstream.pipeline.live.frames import FaultKind
from maskstream.pipeline.live.reader import DecodedFrame
from maskstream.pipeline.live.url import SourceAddress
from maskstream.pipeline.sources import Frame, FrameSource, open_source


class FileFrame:
    """A frame of a file or folder, which is converted already."""

    is_corrupt = False

    def __init__(self, frame: Frame) -> None:
        self._image = frame.image
        self.pts_s = frame.pts_s
        self.size = (frame.image.shape[1], frame.image.shape[0])

    def to_rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        return self._image


class FileConnection:
    """One pass over a video file, a folder of pictures or a picture, from its start."""

    is_live = False
    is_clocked = True
    num_bad_packets = 0

    def __init__(self, address: SourceAddress, config: LiveConfig) -> None:
        """Open it.

        Raises:
            LiveSourceError: it cannot be read.
        """
        self._address = address
        try:
            self._source: FrameSource = open_source(
                address.reveal(), allowed_roots=config.allowed_roots
            )
        except (SourceError, ImageError, InputError) as error:
            raise LiveSourceError.of(FaultKind.INVALID, address, str(error)) from error
        self.codec: str | None = None

    def frames(self) -> Generator[DecodedFrame, None, None]:
        """See ``Connection.frames``. All frames before a fault are given before it is raised."""
        try:
            for frame in self._source:
                yield FileFrame(frame)
        except (SourceError, ImageError, InputError) as error:
            raise LiveSourceError.of(FaultKind.INVALID, self._address, str(error)) from error

    def close(self) -> None:
        """Release the file."""
        self._source.close()
