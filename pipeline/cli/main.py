"""The command ``maskstream``.

Exit codes: 0: done; 1: something failed while it ran; 2: the command or its input cannot be used;
130: stopped by Ctrl-C; 143: stopped by SIGTERM. After both signals the files are complete.
"""

from __future__ import annotations

import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from maskstream.core.errors import CheckpointError, InputError, MaskstreamError
from maskstream.pipeline.cli.checkpoint import add_checkpoint_parser, checkpoint
from maskstream.pipeline.cli.demo import add_demo_parser
from maskstream.pipeline.cli.doctor import add_doctor_parser
from maskstream.pipeline.cli.index import add_index_parser
from maskstream.pipeline.cli.printing import make_printable
from maskstream.pipeline.cli.prompt import add_prompt_parser
from maskstream.pipeline.cli.results import add_results_parser
from maskstream.pipeline.cli.segment import LoadSegmenter, load_segmenter, segment
from maskstream.pipeline.cli.segment_options import add_segment_parser
from maskstream.pipeline.cli.serve import add_serve_parser
from maskstream.pipeline.cli.sessions import add_sessions_parser
from maskstream.pipeline.cli.stream import add_stream_parser
from maskstream.pipeline.cli.web import add_web_parser


def main(arguments: Sequence[str] | None = None, *, load: LoadSegmenter = load_segmenter) -> int:
    """Run the command.

    Args:
        arguments: the arguments, without the program's name; None takes those of the process.
        load: makes the segmenter from the parsed options.

    Returns:
        The exit code.
    """
    make_printable()
    options = _parser().parse_args(arguments)
    try:
        if options.command == "checkpoint":
            return checkpoint(options)
        if options.command == "segment":
            return segment(options, load)
        code: int = options.run(options)
        return code
    except MaskstreamError as error:
        return _report(error, options)
    except KeyboardInterrupt:
        print("maskstream: interrupted", file=sys.stderr)
        return 130


def _report(error: MaskstreamError, options: Namespace) -> int:
    if options.debug:
        traceback.print_exception(error)
    message = " ".join(str(error).split())
    print(f"maskstream: error: {message}", file=sys.stderr)
    return 2 if isinstance(error, InputError | CheckpointError) else 1


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="maskstream",
        description="SAM 3 on video: find things by words and follow them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"maskstream {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_segment_parser(commands)
    add_checkpoint_parser(commands)
    add_serve_parser(commands)
    add_stream_parser(commands)
    add_prompt_parser(commands)
    add_sessions_parser(commands)
    add_results_parser(commands)
    add_web_parser(commands)
    add_doctor_parser(commands)
    add_index_parser(commands)
    add_demo_parser(commands)
    return parser


def _version() -> str:
    try:
        return version("maskstream")
    except PackageNotFoundError:  # this is a source tree that was never installed
        return "(not installed)"
