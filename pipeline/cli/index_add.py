"""``maskstream index add``: adds videos or concepts to an index."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from maskstream.core.errors import IndexMismatchError
from maskstream.pipeline.cli.arguments import address
from maskstream.pipeline.cli.index_build import add_run_options, run_build


def add_add_parser(actions: Any) -> ArgumentParser:
    """Define the command's options."""
    parser: ArgumentParser = actions.add_parser(
        "add",
        help="add videos or concepts to an index",
        description="Index further archives, with the settings of the index; or, without archives, "
        "look for further things in all videos of the index. What is there stays as it is.",
        allow_abbrev=False,
    )
    parser.add_argument("index", type=address, metavar="INDEX")
    parser.add_argument(
        "archives", metavar="ARCHIVE", nargs="*", help="as `index build` takes them"
    )
    parser.add_argument(
        "--text", action="append", default=[], metavar="WORDS", help="what to look for; repeatable"
    )
    parser.add_argument(
        "--checkpoint", help="where the index's checkpoint is; default: where it was at the build"
    )
    add_run_options(parser)
    parser.set_defaults(run=add)
    return parser


def add(options: Namespace) -> int:
    """Run the command; returns the exit code of ``index build``.

    Raises:
        IndexMismatchError: the checkpoint is not that of the index.
        MaskstreamError: see ``build_index``.
    """
    from maskstream.pipeline.archive.format.storage import Storage
    from maskstream.pipeline.archive.indexing.head import open_head
    from maskstream.pipeline.archive.indexing.tools import checkpoint_digest

    head = open_head(Storage(options.index))
    options.checkpoint = options.checkpoint or head.checkpoint_name
    if checkpoint_digest(options.checkpoint) != head.settings.checkpoint:
        raise IndexMismatchError(
            f"{options.index} was made with another checkpoint than {options.checkpoint}"
        )
    return run_build(options, options.archives, options.text, options.index, head.settings)
