"""``maskstream sessions``: lists sessions, shows one, closes one."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskstream.pipeline.cli.connecting import add_store_options, open_client
from maskstream.pipeline.cli.figures import duration, number
from maskstream.pipeline.client.answers import Answer
from maskstream.pipeline.client.client import Client

_WIDTH = 200


def add_sessions_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "sessions",
        help="list sessions, show one, or close one",
        description="List the sessions of a runtime, or show everything about one of them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "session", metavar="SESSION", nargs="?", help="the id of a session; default: list all"
    )
    parser.add_argument("--owner", help="list the sessions of this owner only")
    parser.add_argument(
        "--close", action="store_true", help="end SESSION and delete it, with its results"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_store_options(parser)
    parser.set_defaults(run=sessions)


def sessions(options: Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        MaskstreamError: the store cannot be reached, or there is no such session.
    """
    with open_client(options) as client:
        if options.session is None:
            if options.close:
                print("which one? maskstream sessions SESSION --close")
                return 2
            return _list(client, options)
        request = {"type": "get_session", "session_id": options.session}
        answer = client.handle_request(request)
        if options.close:
            client.handle_request({"type": "close_session", "session_id": options.session})
            print(f"closed {options.session}")
        elif options.json:
            print(json.dumps(answer, indent=2))
        else:
            _show(answer)
        return 0


def _list(client: Client, options: Namespace) -> int:
    request = {"type": "list_sessions"} | ({"owner": options.owner} if options.owner else {})
    answer = client.handle_request(request)
    if options.json:
        print(json.dumps(answer, indent=2))
        return 0
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH  # rich would cut the lines for a pipe or file
    if answer["sessions"]:
        console.print(_table(answer["sessions"]))
    else:
        console.print("no sessions")
    for fault in answer["unreadable"]:
        Console(stderr=True, highlight=False).print(Text(fault), soft_wrap=True)
    return 0


def _table(answers: list[Answer]) -> Table:
    table = Table(
        "session", "owner", "source", "state", "age", "frames", "dropped", "fps", "p95 ms"
    )
    for answer in answers:
        frames, stats = answer["frames"], answer["stats"]
        latency = stats.get("latency_ms") or {}
        cells = (
            answer["session_id"],
            answer["owner"],
            answer["source"],
            answer["state"],
            duration(time.time() - answer["created_s"]),
            str(frames["processed"]),
            str(sum(frames["dropped"].values())),
            number(stats.get("fps")),
            number(latency.get("p95")),
        )
        # As Text, since rich would read a source with brackets as markup.
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _show(answer: Answer) -> None:
    table = Table(show_header=False, box=None)
    frames, stats = answer["frames"], answer["stats"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in frames["dropped"].items())
    rows = {
        "session": answer["session_id"],
        "owner": answer["owner"],
        "source": answer["source"],
        "state": answer["state"] + (f": {answer['reason']}" if answer["reason"] else ""),
        "runs": "by itself" if answer["runs_by_itself"] else "when its client asks for frames",
        "options": json.dumps(answer["options"]),
        "age": duration(time.time() - answer["created_s"]),
        "expires in": duration(answer["expires_s"] - time.time()),
        "frames": f"{frames['decoded']} decoded = {frames['processed']} processed + "
        f"{sum(frames['dropped'].values())} dropped + {frames['in_flight']} in flight",
        "dropped": dropped or "none",
        "epoch": str(answer["epoch"]),
        "prompts": str(answer["num_prompts"]),
        "results": str(answer["cursor"]),
    }
    rows |= {
        name.replace("_", " "): value if isinstance(value, str) else json.dumps(value)
        for name, value in stats.items()
        if value not in (None, "")
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    Console(highlight=False).print(table)
