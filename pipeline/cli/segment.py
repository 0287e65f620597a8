"""``maskstream segment``: follows what prompts describe through a file, and writes the results."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import InputError, SourceError
from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli.progress import RunProgress
from maskstream.pipeline.cli.signals import StopSignals
from maskstream.pipeline.cli.summary import RunSummary, print_summary
from maskstream.pipeline.cli.typed_prompts import TypedPrompt, parse_prompts
from maskstream.pipeline.cli.watched_source import WatchedSource
from maskstream.pipeline.sinks import SinkGroup, open_sinks
from maskstream.pipeline.sources import Frame, FrameSource, open_source


class Segmenter(Protocol):
    """The part of ``VideoSegmenter`` that the command uses."""

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
    ) -> int:
        """Follow one object from this frame on."""
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


LoadSegmenter = Callable[[Namespace], Segmenter]


def load_segmenter(options: Namespace) -> Segmenter:
    """The real segmenter. It is imported here, since it imports torch."""
    from maskstream.pipeline.video.segmenter import VideoSegmenter

    return VideoSegmenter.from_checkpoint(
        options.checkpoint,
        device=options.device,
        dtype=options.dtype or _default_dtype(options.device),
        latency=options.latency,
        score_threshold=options.threshold,
    )


def segment(options: Namespace, load: LoadSegmenter = load_segmenter) -> int:
    """Run the command.

    Returns:
        The exit code: 0, or 128 + the signal that stopped it.

    Raises:
        MaskstreamError: something went wrong. The files that were begun are complete.
    """
    _check_font(options.font)
    with _open(options) as source:
        prompts = parse_prompts(options, source.info.width, source.info.height)
        run = _Run(options, source, prompts)
        formats = [name for name in options.format if name != "overlay" or not options.no_overlay]
        folder = options.out or Path(f"{Path(source.info.name).stem}-masks")
        in_order = options.direction == "forward" and options.latency == "delayed"
        sinks = open_sinks(folder, formats, source, in_order=in_order, font_path=options.font)
        return run.write(sinks, load)


class _Run:
    """One run over a source."""

    def __init__(self, options: Namespace, source: FrameSource, prompts: list[TypedPrompt]) -> None:
        self._options = options
        self._source = source
        self._direction: str = options.direction
        self._max_frames: int | None = options.max_frames
        self._start = _start_frame(options, source, prompts)
        self._pending: dict[int, list[TypedPrompt]] = {}
        self._at_once = [item for item in prompts if not item.needs_frame]
        for item in prompts:
            if item.needs_frame:
                index = item.command.frame_index
                index = self._start if index is None else index
                self._check_reached(item, index)
                self._pending.setdefault(index, []).append(item)

    def write(self, sinks: SinkGroup, load: LoadSegmenter) -> int:
        """Segment, and write the files.

        However it ends, the files are complete; without a frame there are none.
        """
        summary, started = RunSummary(), time.monotonic()
        progress = RunProgress(self._total())
        with StopSignals() as signals:
            try:
                segmenter = load(self._options)
                with progress:
                    fault = self._segment(segmenter, sinks, summary, progress, signals)
            finally:
                if summary.num_frames == 0:
                    sinks.discard()
                sinks.close()
        print_summary(summary, sinks.paths, time.monotonic() - started)
        if fault is not None:
            raise fault
        if self._pending and signals.received is None:
            index, items = min(self._pending.items())
            raise InputError(
                f"{items[0].typed}: frame {index} was never reached; the results are without it"
            )
        return signals.exit_code

    def _segment(
        self,
        segmenter: Segmenter,
        sinks: SinkGroup,
        summary: RunSummary,
        progress: RunProgress,
        signals: StopSignals,
    ) -> SourceError | None:
        for item in self._at_once:
            _give(segmenter, item, None)
        watched = WatchedSource(
            self._source,
            before_frame=lambda frame: self._prompt(segmenter, frame),
            stopped=lambda: signals.received is not None,
        )
        # Backward, the segmenter begins one frame before its start, and this command on its start.
        start = self._start + 1 if self._direction == "backward" else self._start
        for result in segmenter.run(
            watched,
            direction=self._direction,
            start_frame=start,
            max_frames=self._max_frames,
        ):
            sinks.write(result)
            summary.add(result)
            progress.advance(result)
        return watched.fault

    def _prompt(self, segmenter: Segmenter, frame: Frame) -> None:
        for item in self._pending.pop(frame.index, ()):
            _give(segmenter, item, frame)

    def _check_reached(self, item: TypedPrompt, index: int) -> None:
        first, last = _reach(self._start, self._direction, self._max_frames)
        if index < first or (last is not None and index > last):
            until = "the end" if last is None else last
            raise InputError(
                f"{item.typed}: frame {index} is not among the frames {first} to {until} that "
                "this run covers; see --start, --direction and --max-frames"
            )

    def _total(self) -> int | None:
        """How many frames will come; None when that is not known."""
        first, last = _reach(self._start, self._direction, self._max_frames)
        declared = self._source.info.num_frames
        if declared is not None:
            last = declared - 1 if last is None else min(last, declared - 1)
        return None if last is None else max(0, last - first + 1)


def _give(segmenter: Segmenter, item: TypedPrompt, frame: Frame | None) -> None:
    command = item.command
    try:
        if isinstance(command, AddConcept):
            segmenter.add_concept(
                command.text,
                frame=frame,
                boxes=command.boxes or None,
                box_labels=command.box_labels or None,
            )
        elif frame is not None:
            segmenter.add_object(
                frame,
                points=command.points or None,
                point_labels=command.point_labels or None,
                box=command.box,
                mask=command.mask_array,
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
    if options.start is not None:
        start: int = options.start
        source.read(start)  # without such a frame this fails before any file is created
        return start
    if options.direction == "backward":
        return source.count_frames() - 1
    if options.direction == "both":
        shown_on = [item.command.frame_index for item in prompts]
        return min((index for index in shown_on if index is not None), default=0)
    return 0


def _open(options: Namespace) -> FrameSource:
    try:
        return open_source(options.source, fps=options.fps)
    except SourceError as error:
        raise InputError(str(error)) from error


def _check_font(font: str | None) -> None:
    if font is None:
        return
    from PIL import ImageFont

    try:
        ImageFont.truetype(font, 12)
    except OSError as error:
        raise InputError(f"--font {font} cannot be read: {error}") from error


def _default_dtype(device: str | None) -> str:
    import torch

    on_cuda = torch.cuda.is_available() if device is None else device.startswith("cuda")
    return "bfloat16" if on_cuda else "float32"
