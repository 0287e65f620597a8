"""``maskstream index compact``: merges the small files of an index."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from maskstream.pipeline.cli.arguments import address, non_negative_number, positive

_DEFAULT_GRACE_S = 3600.0
_DEFAULT_FILE_MB = 256


def add_compact_parser(actions: Any) -> ArgumentParser:
    """Define the command's options."""
    parser: ArgumentParser = actions.add_parser(
        "compact",
        help="merge the small files of an index, so that searches are fast",
        description="Merge the tables of many videos into few large, sorted files, and leave out "
        "what was removed. Builds and searches may go on meanwhile.",
        allow_abbrev=False,
    )
    parser.add_argument("index", type=address, metavar="INDEX")
    parser.add_argument(
        "--grace-s",
        type=non_negative_number,
        default=_DEFAULT_GRACE_S,
        metavar="S",
        help="keep the files that were merged so long for those who search now; default: 3600",
    )
    parser.add_argument(
        "--file-mb",
        type=positive,
        default=_DEFAULT_FILE_MB,
        metavar="N",
        help="about the size of a large file; default: 256",
    )
    parser.add_argument(
        "--memory-mb",
        type=_memory,
        default=2000,
        metavar="N",
        help="for sorting; what is more goes to the disk; default: 2000",
    )
    parser.add_argument(
        "--wait",
        type=non_negative_number,
        default=0.0,
        metavar="S",
        help="wait so long for another compaction to end",
    )
    parser.set_defaults(run=compact_index)
    return parser


def compact_index(options: Namespace) -> int:
    """Run the command; returns 0.

    Raises:
        MaskstreamError: see ``compact``.
    """
    from maskstream.pipeline.archive.compaction import compact

    done = compact(
        options.index,
        grace_s=options.grace_s,
        target_bytes=options.file_mb * 2**20,
        memory_limit=f"{options.memory_mb}MB",
        wait_s=options.wait,
    )
    print(
        f"{done.num_added} passes merged, {done.num_removed} left out; {done.num_files} files of "
        f"{done.num_bytes:,} bytes written, {done.num_deleted} deleted"
    )
    return 0


def _memory(value: str) -> int:
    number = positive(value)
    if number < 100:
        raise ArgumentTypeError(f"{value} MB is too little to sort in: 100 or more")
    return number
