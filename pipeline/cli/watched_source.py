"""A source that calls a hook before each frame, and that can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from maskstream.core.closing import Closing
from maskstream.core.errors import SourceError
from maskstream.pipeline.sources import Frame, FrameSource, SourceInfo


class WatchedSource(Closing):
    """Calls a hook before each frame of a source, and ends when it is told to stop.

    It also ends when a frame cannot be decoded, and keeps the error in ``fault``. So the segmenter
    sees an end, and gives the results that it still holds back.

    Args:
        before_frame: the hook.
        stopped: whether to end before the next frame.
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
        """The facts about the source."""
        return self._source.info

    def __iter__(self) -> Iterator[Frame]:
        """All frames from ``start_frame`` on."""
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
