"""The files that ``maskstream stream`` writes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskstream.core.closing import Closing
from maskstream.core.errors import InputError, MaskstreamError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli.output_folder import OutputFolder
from maskstream.pipeline.cli.pushing import FramePusher
from maskstream.pipeline.cli.results import result_line
from maskstream.pipeline.client.answers import result_of
from maskstream.pipeline.live import LiveConfig, parse_address
from maskstream.pipeline.sinks.jsonl import JsonlSink
from maskstream.pipeline.sinks.overlay_segments import OverlaySegments
from maskstream.pipeline.sources import Frame, FrameSource, open_source
from maskstream.pipeline.store import ResultEntry


class StreamSinks(Closing):
    """Writes JSON lines, and overlay videos in segments; without a folder nothing.

    Attributes:
        pictures: gives the pictures of pushed frames. Those of a plain file are read once more.
    """

    def __init__(self, options: Namespace, drives: bool) -> None:
        """Check the folder; the files are created with the first result.

        Raises:
            InputError: the folder holds the results of an earlier run.
            OutputError: it cannot be written to.
        """
        self._options = options
        self._output = (
            None if options.out is None else OutputFolder(options.out, overwrite=options.overwrite)
        )
        self.pictures: FramePusher | None = None
        self._jsonl: JsonlSink | None = None
        self._overlay: OverlaySegments | None = None
        self._source: FrameSource | None = None
        self._frames: Iterator[Frame] | None = None
        if self._output is None:
            return
        self._output.check()
        if options.overlay and drives:
            self._source = open_source(parse_address(options.source, LiveConfig()).reveal())

    def _open(self, output: OutputFolder) -> JsonlSink:
        """Create the files; returns that of the lines."""
        folder = output.begin()
        if self._options.overlay:
            self._overlay = OverlaySegments(
                folder,
                segment_s=self._options.segment_s,
                keep=self._options.keep_segments,
                fps=None if self._source is None else self._source.info.fps,
            )
        return JsonlSink(folder / "results.jsonl")

    def leave(self) -> None:
        """Remove unfinished files that are of no use, before the process is killed."""
        if self._output is not None:
            self._output.leave()

    @property
    def paths(self) -> list[Path]:
        """The files that are complete."""
        jsonl = [] if self._jsonl is None else self._jsonl.paths
        return [*jsonl, *([] if self._overlay is None else self._overlay.paths)]

    def write(self, entry: ResultEntry) -> FrameResult:
        """Write one frame; returns it as a FrameResult.

        Raises:
            OutputError: a file cannot be written.
        """
        result = result_of(entry.record)
        pushed = None if self.pictures is None else self.pictures.take(entry.frame_index)
        line: dict[str, Any] = result_line(entry)
        if pushed is not None:
            line |= {
                "source_frame_index": pushed.stamp.index,
                "source_epoch": pushed.stamp.epoch,
                "gap_s": pushed.stamp.gap_s,
                "wall_s": pushed.stamp.wall_s,
            }
        if self._output is not None:
            self._jsonl = self._open(self._output) if self._jsonl is None else self._jsonl
            self._jsonl.write_record(line)
        if self._overlay is not None:
            if pushed is not None:
                stamp = pushed.stamp
                self._overlay.write(result, pushed.image, stamp.pts_s, stamp.epoch, stamp.wall_s)
            elif self._source is not None:
                frame = self._read(self._source, entry.frame_index)
                self._overlay.write(result, frame.image, frame.pts_s)
        return result

    def close(self) -> None:
        """Complete the files; without a frame there are none. Closing twice is fine.

        Raises:
            OutputError: one of the files cannot be completed; the others are.
        """
        first: MaskstreamError | None = None
        for sink in (self._overlay, self._jsonl, self._source):
            try:
                if sink is not None:
                    sink.close()
            except MaskstreamError as error:
                first = first or error
        if self._output is not None:
            self._output.remove_if_empty()
        if first is not None:
            raise first

    def _read(self, source: FrameSource, index: int) -> Frame:
        """A frame of the file. Frames are asked for in ascending order."""
        if self._frames is None:
            self._frames = source.iterate(index)
        for frame in self._frames:
            if frame.index == index:
                return frame
        raise InputError(f"the file has no frame {index}")
