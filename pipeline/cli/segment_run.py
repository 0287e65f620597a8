"""One run of ``maskstream segment`` over one source."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import InputError
from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.api.doubts import doubts_of
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli.output_folder import OutputFolder
from maskstream.pipeline.cli.progress import RunProgress
from maskstream.pipeline.cli.signals import StopSignals
from maskstream.pipeline.cli.summary import RunSummary, print_summary
from maskstream.pipeline.cli.typed_prompts import TypedPrompt
from maskstream.pipeline.cli.watched_source import WatchedSource
from maskstream.pipeline.sinks import SinkGroup, open_sinks
from maskstream.pipeline.sources import Frame, FrameSource

OBJECT_LABEL = "object"
VISUAL_LABEL = "visual"


class Segmenter(Protocol):
    """The part of ``VideoSegmenter`` that the command uses."""

    def reset(self) -> None:
        """Forget all prompts and objects."""
        ...

    def add_concept(
        self,
        text: str | None = None,
        *,
        frame: Frame | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        box_labels: Sequence[int] | None = None,
    ) -> int:
        """Find a concept from the next frame on."""
        ...

    def add_object(
        self,
        frame: Frame,
        *,
        points: Sequence[Sequence[float]] | None = None,
        point_labels: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        mask: NDArray[np.bool_] | None = None,
        label: str | None = None,
    ) -> int:
        """Follow one object from this frame on."""
        ...

    def at(self, frame: Frame) -> FrameResult:
        """The objects that were prompted on a frame."""
        ...

    def run(
        self,
        source: FrameSource,
        *,
        direction: Any = "forward",
        start_frame: int = 0,
        max_frames: int | None = None,
    ) -> Iterator[FrameResult]:
        """Step over the frames, and give their results."""
        ...


class SegmentRun:
    """One run over a source.

    Args:
        options: those of the command.
        source: an open source.
        prompts: those that were typed, in that order.
        output: where the files go.

    Raises:
        InputError: a frame that the options name is not there, or not reached.
    """

    def __init__(
        self,
        options: Namespace,
        source: FrameSource,
        prompts: list[TypedPrompt],
        output: OutputFolder,
    ) -> None:
        self._options = options
        self._source = source
        self._output = output
        self._labels = [_label(item) for item in prompts]
        self._direction: str = options.direction
        self._max_frames: int | None = options.max_frames
        self._start = _start_frame(options, source, prompts)
        self._summary = RunSummary()
        # Those that name no frame belong to the first one, words too, so that ids are given in the
        # order of the options.
        self._pending: dict[int, list[TypedPrompt]] = {}
        for item in prompts:
            index = item.command.frame_index
            index = self._start if index is None else index
            self._check_reached(item, index)
            self._pending.setdefault(index, []).append(item)

    def write(self, load: Callable[[], Segmenter]) -> int:
        """Segment, and write the files.

        However it ends, the files are complete; without a frame there are none.

        Returns:
            The exit code: 0, or 128 + the signal that stopped it.
        """
        started = time.monotonic()
        progress = RunProgress(self._total())
        sinks: SinkGroup | None = None
        with StopSignals(self._output.leave) as signals:
            try:
                segmenter = load()
                with progress:
                    watched = WatchedSource(
                        self._source,
                        before_frame=lambda frame: self._prompt(segmenter, frame),
                        stopped=lambda: signals.received is not None,
                    )
                    for result in self._results(segmenter, watched):
                        sinks = self._open_sinks() if sinks is None else sinks
                        sinks.write(result)
                        self._summary.add(result)
                        progress.advance(result)
            finally:
                if sinks is not None:
                    sinks.close()
                self._output.remove_if_empty()
        paths = [] if sinks is None else sinks.paths
        print_summary(self._summary, paths, time.monotonic() - started)
        if watched.fault is not None:
            raise watched.fault
        if self._pending and signals.received is None:
            index, items = min(self._pending.items())
            raise InputError(
                f"{items[0].typed}: frame {index} was never reached; the results are without it"
            )
        return signals.exit_code

    def _open_sinks(self) -> SinkGroup:
        """The files, when the first result is there to be written."""
        options = self._options
        return open_sinks(
            self._output.begin(),
            [name for name in options.format if name != "overlay" or not options.no_overlay],
            self._source,
            in_order=self._direction == "forward" and options.latency == "delayed",
            font_path=options.font,
            categories=self._labels,
        )

    def _results(self, segmenter: Segmenter, watched: WatchedSource) -> Iterator[FrameResult]:
        # Backward, the segmenter begins one frame before its start, and this command on its start.
        start = self._start + 1 if self._direction == "backward" else self._start
        return segmenter.run(
            watched, direction=self._direction, start_frame=start, max_frames=self._max_frames
        )

    def _prompt(self, segmenter: Segmenter, frame: Frame) -> None:
        for item in self._pending.pop(frame.index, ()):
            _give(segmenter, item, frame, self._summary)

    def _check_reached(self, item: TypedPrompt, index: int) -> None:
        first, last = _reach(self._start, self._direction, self._max_frames)
        if index < first or (last is not None and index > last):
            until = "the end" if last is None else last
            raise InputError(
                f"{item.typed}: frame {index} is not among the frames {first} to {until} that "
                "this run covers; see --start-frame, --direction and --max-frames"
            )

    def _total(self) -> int | None:
        """How many frames will come; None when that is not known."""
        first, last = _reach(self._start, self._direction, self._max_frames)
        declared = self._source.info.num_frames
        if declared is not None:
            last = declared - 1 if last is None else min(last, declared - 1)
        return None if last is None else max(0, last - first + 1)


def _label(item: TypedPrompt) -> str:
    """What results will call what the prompt describes."""
    if isinstance(item.command, AddConcept):
        return item.command.text or VISUAL_LABEL
    return item.command.label or OBJECT_LABEL


def _give(segmenter: Segmenter, item: TypedPrompt, frame: Frame, summary: RunSummary) -> None:
    command = item.command
    try:
        if isinstance(command, AddConcept):
            prompt_id = segmenter.add_concept(
                command.text,
                frame=frame if item.needs_frame else None,
                boxes=command.boxes or None,
                box_labels=command.box_labels or None,
            )
            summary.ask_for_concept(item.typed, prompt_id)
        else:
            obj_id = segmenter.add_object(
                frame,
                points=command.points or None,
                point_labels=command.point_labels or None,
                box=command.box,
                mask=command.mask_array,
                label=command.label,
            )
            summary.ask_for_object(
                item.typed, obj_id, doubts_of(command, segmenter.at(frame), obj_id)
            )
    except InputError as error:
        raise InputError(f"{item.typed}: {error}") from error


def _reach(start: int, direction: str, max_frames: int | None) -> tuple[int, int | None]:
    """The first and the last frame that a run covers; None means the last frame of the source."""
    first, last = start, None if max_frames is None else start + max_frames - 1
    if direction == "backward":
        last = start
        first = 0 if max_frames is None else max(0, start - max_frames + 1)
    elif direction == "both":
        first = 0 if max_frames is None else max(0, start - max_frames)
    return first, last


def _start_frame(options: Namespace, source: FrameSource, prompts: list[TypedPrompt]) -> int:
    if options.start_frame is not None:
        start: int = options.start_frame
        source.read(start)  # without such a frame this fails before any file is created
        return start
    if options.direction == "backward":
        return source.count_frames() - 1
    if options.direction == "both":
        shown_on = [item.command.frame_index for item in prompts]
        return min((index for index in shown_on if index is not None), default=0)
    return 0
