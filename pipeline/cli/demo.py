"""``maskstream demo-clip``: prints where the clip lies that comes with the package."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from maskstream.pipeline.video.demo import demo_clip


def add_demo_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "demo-clip",
        help="print the path of the clip that comes with maskstream",
        description="Print the path of the clip that comes with maskstream, to try things on: "
        'maskstream segment "$(maskstream demo-clip)" --text "dog face"',
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    parser.set_defaults(run=demo)


def demo(options: Namespace) -> int:
    """Run the command; returns the exit code."""
    print(demo_clip())
    return 0
