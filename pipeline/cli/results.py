"""``maskstream results``: prints the log of a session's results as JSON lines."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskstream.core.errors import InputError
from maskstream.pipeline.api.requests import StreamResults
from maskstream.pipeline.cli.arguments import count, positive, positive_number
from maskstream.pipeline.cli.connecting import add_store_options, open_client
from maskstream.pipeline.cli.printing import json_line
from maskstream.pipeline.cli.signals import StopSignals
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.sinks.jsonl import JsonlSink
from maskstream.pipeline.store import ResultEntry

_AT_ONCE = 64


def add_results_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "results",
        help="print the results of a session as JSON lines",
        description="Print the log of a session's results, one JSON line for each frame, with "
        "masks as run-length codes. The cursor in a line is the --cursor for those that follow it.",
        allow_abbrev=False,
    )
    parser.add_argument("session", metavar="SESSION", help="the id of the session")
    parser.add_argument(
        "--cursor",
        type=count,
        default=0,
        metavar="N",
        help="print the results after this cursor; default: 0",
    )
    parser.add_argument("--max-frames", type=positive, metavar="N", help="print at most N frames")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="wait for more results, until the session is over or Ctrl-C",
    )
    parser.add_argument(
        "--takeover-s",
        type=positive_number,
        metavar="S",
        help="with --follow: when the runtime of the session is gone, wait S seconds for another "
        "to take the session over; default: as long as the lease of the first",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write to FILE; default: standard output"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace FILE, which is in the way otherwise"
    )
    add_store_options(parser)
    parser.set_defaults(run=results)


def results(options: Namespace) -> int:
    """Run the command.

    Returns:
        The exit code: 0, or 128 + the signal that stopped it.

    Raises:
        MaskstreamError: the store cannot be reached, or there is no such session, or it has failed.
    """
    sink = None
    if options.out is not None:
        if not options.out.parent.is_dir():
            raise InputError(f"--out {options.out}: there is no folder {options.out.parent}")
        if options.out.exists() and not options.overwrite:
            raise InputError(
                f"--out {options.out}: there is such a file; give another name, or --overwrite"
            )
        sink = JsonlSink(options.out)
    with open_client(options) as client, StopSignals() as signals:
        try:
            for number, (entry, cursor) in enumerate(_entries(client, options, signals), 1):
                record = result_line(entry) | {"cursor": cursor}
                if sink is not None:
                    sink.write_record(record)
                elif not _print(json_line(record)):
                    break
                if number == options.max_frames or signals.received is not None:
                    break
        finally:
            if sink is not None:
                sink.close()
        return signals.exit_code


def result_line(entry: ResultEntry) -> dict[str, Any]:
    """A result as a JSON line holds it: the frame's record, and the frame's place in the stream."""
    return entry.record | {"wall_s": entry.wall_s, "epoch": entry.epoch, "gap_s": entry.gap_s}


def _entries(
    client: Client, options: Namespace, signals: StopSignals
) -> Iterator[tuple[ResultEntry, int]]:
    if options.follow:
        request = StreamResults(
            type="stream_results", session_id=options.session, cursor=options.cursor
        )
        yield from client.entries(request, lambda: signals.received is not None)
        return
    cursor = options.cursor
    while True:
        page = client.store.read_results(options.session, cursor, count=_AT_ONCE)
        first = page.cursor - len(page.entries) + 1
        for number, entry in enumerate(page.entries, first):
            if entry.kind == "frame":
                yield entry, number
        if page.cursor == cursor:
            return
        cursor = page.cursor


def _print(line: str) -> bool:
    """Print a line; False when the reader of the output, such as ``head``, has gone."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Otherwise Python prints an error when it flushes the output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
