"""``maskstream index sql``: runs a statement over the tables of an index."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from maskstream.pipeline.cli.arguments import address
from maskstream.pipeline.cli.table import print_table, tolerating_closed_output

if TYPE_CHECKING:
    import pyarrow as pa


def add_sql_parser(actions: Any) -> ArgumentParser:
    """Define the command's options."""
    parser: ArgumentParser = actions.add_parser(
        "sql",
        help="run a statement of SQL over an index",
        description="Run one SELECT of DuckDB's SQL over tracks, observations, shots, videos and "
        "looked_for. It can read the index, and nothing else.",
        allow_abbrev=False,
    )
    parser.add_argument("index", type=address, metavar="INDEX")
    parser.add_argument("statement", metavar="SELECT")
    parser.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="default: table"
    )
    parser.set_defaults(run=sql)
    return parser


def sql(options: Namespace) -> int:
    """Run the command; returns 0.

    Raises:
        InputError: the statement cannot be run.
        ArchiveError: there is no index, or it cannot be read.
    """
    from maskstream.pipeline.archive.export.rows import print_records
    from maskstream.pipeline.archive.search import Index

    with Index(options.index) as index, tolerating_closed_output():
        table = index.sql(options.statement)
        if options.format == "table":
            print_table(table.column_names, _cells(table))
        else:
            print_records(_records(table), table.column_names, sys.stdout, options.format)
    return 0


def _records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows, as values of JSON."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def _cells(table: pa.Table) -> list[list[str]]:
    return [
        ["" if value is None else str(value) for value in row.values()] for row in _records(table)
    ]


def _plain(value: Any) -> Any:
    """A value as JSON has it: moments and the like as text, bytes as Latin-1."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
