"""``maskstream index``: builds indexes of archives and searches them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from maskstream.pipeline.cli.index_add import add_add_parser
from maskstream.pipeline.cli.index_build import add_build_parser
from maskstream.pipeline.cli.index_compact import add_compact_parser
from maskstream.pipeline.cli.index_export import add_export_parser
from maskstream.pipeline.cli.index_remove import add_remove_parser
from maskstream.pipeline.cli.index_search import add_search_parser
from maskstream.pipeline.cli.index_sql import add_sql_parser
from maskstream.pipeline.cli.index_status import add_status_parser, add_verify_parser


def add_index_parser(commands: Any) -> None:
    """Define the commands; each has a file of its own."""
    parser: ArgumentParser = commands.add_parser(
        "index", help="index what is seen in archives of videos", allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add_parser in (
        add_build_parser,
        add_add_parser,
        add_remove_parser,
        add_status_parser,
        add_verify_parser,
        add_search_parser,
        add_export_parser,
        add_sql_parser,
        add_compact_parser,
    ):
        command: ArgumentParser = add_parser(actions)
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
