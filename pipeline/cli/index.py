"""``maskstream index``: builds indexes of archives and searches them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from maskstream.pipeline.cli.index_build import add_build_parser


def add_index_parser(commands: Any) -> None:
    """Define the commands; each has a file of its own."""
    parser: ArgumentParser = commands.add_parser(
        "index", help="index what is seen in archives of videos", allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add_parser in (add_build_parser,):
        command: ArgumentParser = add_parser(actions)
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
