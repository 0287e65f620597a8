"""``maskstream index remove``: removes videos from an index."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from maskstream.pipeline.cli.arguments import address, count


def add_remove_parser(actions: Any) -> ArgumentParser:
    """Define the command's options."""
    parser: ArgumentParser = actions.add_parser(
        "remove",
        help="remove videos from an index",
        description="Remove all that an index holds of videos. The videos themselves stay.",
        allow_abbrev=False,
    )
    parser.add_argument("index", type=address, metavar="INDEX")
    parser.add_argument("videos", metavar="VIDEO", nargs="+", help="the file's address, or its id")
    parser.add_argument(
        "--wait", type=count, default=0, metavar="S", help="wait so long for a build to end"
    )
    parser.set_defaults(run=remove)
    return parser


def remove(options: Namespace) -> int:
    """Run the command; returns 0.

    Raises:
        MaskstreamError: see ``remove_videos``; or there is no index.
    """
    from maskstream.pipeline.archive.format.storage import Storage
    from maskstream.pipeline.archive.indexing.head import open_head
    from maskstream.pipeline.archive.indexing.removing import remove_videos

    storage = Storage(options.index)
    open_head(storage)
    num_removed = remove_videos(storage, options.videos, wait_s=float(options.wait))
    print(f"{num_removed} videos removed")
    return 0
