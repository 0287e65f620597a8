"""A source that shows its frames to the command before they are segmented, and can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from maskstream.core.closing import Closing
from maskstream.core.errors import SourceError
from maskstream.pipeline.sources import Frame, FrameSource, SourceInfo


class WatchedSource(Closing):
    """A source that shows each frame to a hook first, and ends when it is told to.

    It also ends where its frames can no longer be decoded, and keeps the error in ``fault``: the
    segmenter then finishes the results that it still holds back.
    """

    def __init__(
        self,
        source: FrameSource,
        before_frame: Callable[[Frame], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._source = source
        self._before_frame = before_frame
        self._stopped = stopped
        self.start_frame = source.start_frame
        self.fault: SourceError | None = None

    @property
    def info(self) -> SourceInfo:
        """That of the source."""
        return self._source.info

    def __iter__(self) -> Iterator[Frame]:
        """From ``start_frame`` on."""
        return self.iterate()

    def iterate(
        self, start: int | None = None, stop: int | None = None, *, reverse: bool = False
    ) -> Iterator[Frame]:
        """See ``FrameSource.iterate``."""
        return self._watch(self._source.iterate(start, stop, reverse=reverse))

    def _watch(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        while not self._stopped() and self.fault is None:
            try:
                frame = next(frames, None)
            except SourceError as error:
                self.fault = error
                return
            if frame is None:
                return
            self._before_frame(frame)
            yield frame

    def read(self, index: int) -> Frame:
        """See ``FrameSource.read``."""
        return self._source.read(index)

    def frame_name(self, index: int) -> str:
        """See ``FrameSource.frame_name``."""
        return self._source.frame_name(index)

    def count_frames(self) -> int:
        """See ``FrameSource.count_frames``."""
        return self._source.count_frames()

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._source.close()
