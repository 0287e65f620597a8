"""What a run needs around the segmenter: prompts at their frames, a clean stop, a report."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Self

import numpy as np

from maskstream.core.closing import Closing
from maskstream.core.errors import SourceError
from maskstream.pipeline.api.results import FrameResult
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


class StopSignals:
    """Turns the first Ctrl-C (or SIGTERM) into a request to stop; the second one kills."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count it; 0 when there was none."""
        return 0 if self.received is None else 128 + self.received

    def __enter__(self) -> Self:
        """Take over the two signals."""
        self._previous = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        # Straight to the file: a handler may interrupt any write of Python's own.
        os.write(2, b"\nfinishing the files; press Ctrl-C again to kill\n")


@dataclass(slots=True)
class ObjectSummary:
    """One object over the whole run."""

    obj_id: int
    label: str
    first_frame: int
    last_frame: int
    num_frames: int = 0
    num_scores: int = 0
    total_score: float = 0.0

    @property
    def mean_score(self) -> float | None:
        """Mean detection score over the frames that have one."""
        return self.total_score / self.num_scores if self.num_scores else None


@dataclass(slots=True)
class RunSummary:
    """What was seen. Its size depends on the number of objects, never on that of frames."""

    num_frames: int = 0
    objects: dict[int, ObjectSummary] = field(default_factory=dict)

    def add(self, result: FrameResult) -> None:
        """Count one frame."""
        self.num_frames += 1
        for row in np.flatnonzero(result.masks.any(axis=(1, 2))).tolist():
            self._add_object(result, row)

    def _add_object(self, result: FrameResult, row: int) -> None:
        obj_id, index = int(result.obj_ids[row]), result.frame_index
        summary = self.objects.get(obj_id)
        if summary is None:
            summary = ObjectSummary(obj_id, result.labels[row], index, index)
            self.objects[obj_id] = summary
        summary.first_frame = min(summary.first_frame, index)
        summary.last_frame = max(summary.last_frame, index)
        summary.num_frames += 1
        score = float(result.scores[row])
        if np.isfinite(score):
            summary.num_scores += 1
            summary.total_score += score
