"""Sinks write results to files: JSON lines, COCO, YouTube-VIS, overlay videos."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from maskstream.core.closing import Closing
from maskstream.core.errors import InputError, MaskstreamError, OutputError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.base import Sink, cannot_write
from maskstream.pipeline.sinks.coco import write_coco, write_youtube_vis
from maskstream.pipeline.sinks.jsonl import JsonlSink
from maskstream.pipeline.sinks.overlay_video import OverlaySink, VideoWriter, write_overlay
from maskstream.pipeline.sinks.spool import Export, ResultSpool, SpoolSink
from maskstream.pipeline.sources import FrameSource

__all__ = [
    "FORMATS",
    "Format",
    "JsonlSink",
    "OverlaySink",
    "ResultSpool",
    "Sink",
    "SinkGroup",
    "SpoolSink",
    "VideoWriter",
    "open_sinks",
    "write_coco",
    "write_overlay",
    "write_youtube_vis",
]

Format = Literal["jsonl", "coco", "ytvis", "overlay"]
FORMATS: tuple[Format, ...] = get_args(Format)
_FILE_NAMES: dict[Format, str] = {
    "jsonl": "results.jsonl",
    "coco": "coco.json",
    "ytvis": "youtube_vis.json",
    "overlay": "overlay.mp4",
}


class SinkGroup(Closing):
    """Several sinks as one. If one fails to close, the others are still closed."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    @property
    def paths(self) -> list[Path]:
        """The files of all sinks."""
        return [path for sink in self._sinks for path in sink.paths]

    def write(self, result: FrameResult) -> None:
        """See ``Sink.write``."""
        for sink in self._sinks:
            sink.write(result)

    def close(self) -> None:
        """See ``Sink.close``. Closes all sinks, then raises the first error."""
        first_error: MaskstreamError | None = None
        for sink in self._sinks:
            try:
                sink.close()
            except MaskstreamError as error:
                first_error = first_error or error
        if first_error is not None:
            raise first_error

    def discard(self) -> None:
        """See ``Sink.discard``."""
        for sink in self._sinks:
            sink.discard()


def open_sinks(
    folder: Path,
    formats: Collection[str],
    source: FrameSource,
    *,
    in_order: bool = True,
    font_path: str | None = None,
    categories: Sequence[str] = (),
) -> SinkGroup:
    """Create the sinks for a run.

    Args:
        folder: where the files go; created if it does not exist. Finished files replace those of
            an earlier run.
        formats: some of ``FORMATS``.
        source: the segmented source; the overlay reads its pictures again.
        in_order: whether results come once for each frame, in ascending order. If not, the overlay
            is painted at the end.
        font_path: a TrueType font to write labels with; None: the fonts of the package.
        categories: labels that get the first ids of categories in COCO and YouTube-VIS files, in
            this order, so that several runs give them the same ids. Others get the next ones.

    Raises:
        InputError: an unknown format.
        OutputError: the folder cannot be created or written to.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise InputError(f"unknown format {unknown or 'none'}; choose from {', '.join(FORMATS)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    sinks: list[Sink] = []
    try:
        _create(sinks, folder, formats, source, in_order, font_path, categories)
    except OutputError:
        SinkGroup(sinks).discard()
        raise
    return SinkGroup(sinks)


def _create(
    sinks: list[Sink],
    folder: Path,
    formats: Collection[str],
    source: FrameSource,
    in_order: bool,
    font_path: str | None,
    categories: Sequence[str],
) -> None:
    """Append the sinks one by one, so that the caller can discard those before a failure."""
    paths = {name: folder / _FILE_NAMES[name] for name in FORMATS}
    exports: list[Export] = []
    if "jsonl" in formats:
        sinks.append(JsonlSink(paths["jsonl"]))
    if "overlay" in formats and in_order:
        sinks.append(OverlaySink(paths["overlay"], source, font_path=font_path))
    if "coco" in formats:
        exports.append(
            Export(paths["coco"], partial(write_coco, source=source, categories=categories))
        )
    if "ytvis" in formats:
        write = partial(write_youtube_vis, source=source, categories=categories)
        exports.append(Export(paths["ytvis"], write))
    if "overlay" in formats and not in_order:
        write = partial(write_overlay, source=source, font_path=font_path)
        exports.append(Export(paths["overlay"], write))
    if exports:
        sinks.append(SpoolSink(folder, exports))
