"""``maskstream index search``: prints what an index holds of a thing."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskstream.pipeline.cli.arguments import positive
from maskstream.pipeline.cli.index_query import add_query_options, open_index, query_of
from maskstream.pipeline.cli.table import print_table, tolerating_closed_output

if TYPE_CHECKING:
    from maskstream.pipeline.archive.search import Hit

_HEADINGS = ("VIDEO", "CONCEPT", "OBJECT", "FROM", "TO", "SECONDS", "SCORE", "AREA", "RECORDED")


def add_search_parser(actions: Any) -> ArgumentParser:
    """Define the command's options."""
    parser: ArgumentParser = actions.add_parser(
        "search",
        help="print when and where a thing is seen",
        description="Print the masklets that are asked for: each is one object, from its first "
        "frame to its last.",
        allow_abbrev=False,
    )
    add_query_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format",
        choices=("table", "json", "csv"),
        default="table",
        help="default: table. More kinds: maskstream index export",
    )
    group.add_argument("--limit", type=positive, default=100, help="at most so many; default: 100")
    group.add_argument("--cursor", help="go on behind a page; the line below it says how")
    group.add_argument("--count", action="store_true", help="print how many there are, and no more")
    parser.set_defaults(run=search)
    return parser


def search(options: Namespace) -> int:
    """Run the command; returns 0, also when nothing is found.

    Raises:
        InputError: the query is refused.
        NotIndexedError: a concept was never looked for; the message names the nearest.
        ArchiveError: there is no index, or it cannot be read.
    """
    from maskstream.pipeline.archive.export.rows import print_rows

    query = query_of(options)
    with open_index(options) as index, tolerating_closed_output():
        if options.count:
            print(index.count(query))
            return 0
        page = index.search(query, limit=options.limit, cursor=options.cursor)
        if options.format == "table":
            print_table(_HEADINGS, [_row(hit) for hit in page.hits])
        else:
            print_rows(page.hits, sys.stdout, options.format)
    print(f"{len(page.hits)} masklets in {_videos(page.hits, page.num_videos)}", file=sys.stderr)
    if page.cursor is not None:
        print(f"there are more: --cursor {page.cursor}", file=sys.stderr)
    return 0


def _videos(hits: Sequence[Hit], num_videos: int) -> str:
    found = len({hit.video_id for hit in hits})
    return f"{found} of {num_videos} videos that were looked at"


def _row(hit: Hit) -> tuple[str, ...]:
    return (
        hit.name or hit.video_id,
        hit.concept,
        str(hit.object_id),
        _clock(hit.start_s),
        _clock(hit.end_s),
        f"{hit.duration_s:.2f}",
        f"{hit.best_score:.3f}",
        f"{hit.mean_area:.2%}",
        "" if hit.started_at is None else f"{hit.started_at:%Y-%m-%d %H:%M:%SZ}",
    )


def _clock(seconds: float) -> str:
    sign, hundredths = "-" if seconds < 0 else "", round(abs(seconds) * 100)
    minutes, rest = divmod(hundredths, 6000)
    return f"{sign}{minutes // 60}:{minutes % 60:02d}:{rest / 100:05.2f}"
