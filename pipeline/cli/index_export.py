"""``maskstream index export``: writes what is found in an index as files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskstream.core.errors import InputError
from maskstream.pipeline.cli.arguments import non_negative_number, positive
from maskstream.pipeline.cli.index_query import add_query_options, open_index, query_of

if TYPE_CHECKING:
    from maskstream.pipeline.archive.search import Hit, Index

_FOLDERS = ("clips", "fiftyone")
_KINDS = ("json", "csv", "parquet", "coco", "youtube-vis", "clips", "sheet", "fiftyone")


def add_export_parser(actions: Any) -> ArgumentParser:
    """Define the command's options."""
    parser: ArgumentParser = actions.add_parser(
        "export",
        help="write what is found as rows, annotations, clips or pictures",
        description="Write the masklets that are asked for to a file: rows (json: a line for each, "
        "csv, parquet), annotations (coco, youtube-vis) or a contact sheet of pictures (sheet); or "
        "to a folder: clips, or what FiftyOne opens as a COCODetectionDataset (fiftyone).",
        allow_abbrev=False,
    )
    add_query_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--to", choices=_KINDS, required=True, help="what to write")
    group.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="a file, or a folder"
    )
    group.add_argument("--overwrite", action="store_true", help="replace files of the same names")
    group.add_argument("--limit", type=positive, metavar="N", help="the first N only")
    group.add_argument(
        "--padding-s",
        type=non_negative_number,
        default=1.0,
        metavar="S",
        help="clips: how much is shown before and after; default: 1",
    )
    parser.set_defaults(run=export)
    return parser


def export(options: Namespace) -> int:
    """Run the command; returns 0.

    Raises:
        InputError: the query is refused, or something is in the way.
        NotIndexedError: a concept was never looked for; the message names the nearest.
        ArchiveError: there is no index, or it cannot be read.
        SourceError: a video is gone, cannot be decoded, or has changed since it was indexed.
        OutputError: something cannot be written.
    """
    query = query_of(options)
    _check(options)
    with open_index(options) as index:
        hits = islice(index.hits(query), options.limit)
        first = next(hits, None)
        if first is None:
            raise InputError("nothing is found, so nothing is written")
        print(_write(index, _chained(first, hits), options))
    return 0


def _write(index: Index, hits: Iterable[Hit], options: Namespace) -> str:
    """Write; what was written, in words."""
    from maskstream.pipeline.archive import export as to

    out: Path = options.out
    if options.to in ("json", "csv", "parquet"):
        return f"{to.write_rows(hits, out, options.to)} rows"
    if options.to == "coco":
        return f"{to.write_coco(index, hits, out)} annotations"
    if options.to == "youtube-vis":
        return f"{to.write_youtube_vis(index, hits, out)} annotations"
    if options.to == "sheet":
        return f"{to.write_contact_sheet(index, hits, out)} pictures"
    if options.to == "fiftyone":
        return f"{to.write_fiftyone(index, hits, out)} pictures"
    clips = to.write_clips(index, hits, out, padding_s=options.padding_s)
    return f"{sum(1 for _ in clips)} clips"


def _check(options: Namespace) -> None:
    """Refuse what is in the way before anything is searched."""
    out: Path = options.out
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    if options.to in _FOLDERS:
        if out.exists() and not out.is_dir():
            raise InputError(f"--out {out}: it is no folder")
        if out.is_dir() and any(out.iterdir()) and not options.overwrite:
            raise InputError(f"--out {out}: there is something in it; see --overwrite")
    elif out.is_dir():
        raise InputError(f"--out {out}: it is a folder")
    elif out.exists() and not options.overwrite:
        raise InputError(f"--out {out}: there is such a file; --overwrite replaces it")


def _chained(first: Hit, others: Iterator[Hit]) -> Iterator[Hit]:
    yield first
    yield from others
