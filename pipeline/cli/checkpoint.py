"""``maskstream checkpoint``: look into checkpoints and convert them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

_NAME_HELP = "tiny (embedded), a folder, a .pt file or a hub name such as facebook/sam3"


def add_checkpoint_parser(commands: Any) -> None:
    """Define the commands' options."""
    parser: ArgumentParser = commands.add_parser(
        "checkpoint", help="look into checkpoints and convert them", allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    inspect = actions.add_parser(
        "inspect", help="say what a checkpoint holds; only its headers are read", allow_abbrev=False
    )
    inspect.add_argument("checkpoint", metavar="CHECKPOINT", help=_NAME_HELP)
    convert = actions.add_parser(
        "convert", help="write a checkpoint in the folder layout", allow_abbrev=False
    )
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help=_NAME_HELP)
    convert.add_argument("folder", metavar="FOLDER", type=Path, help="where to write it")
    convert.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="convert the weights to this type; default: leave them as they are",
    )
    convert.add_argument(
        "--overwrite", action="store_true", help="replace a checkpoint that FOLDER holds already"
    )
    for command in (inspect, convert):
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")


def checkpoint(options: Namespace) -> int:
    """Run one of the commands; returns the exit code.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        OutputError: the folder cannot be written.
    """
    if options.action == "inspect":
        from maskstream.core.checkpoint_summary import inspect_checkpoint

        print(inspect_checkpoint(options.checkpoint))
        return 0
    import torch

    from maskstream.core.checkpoint import convert_checkpoint

    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    folder = convert_checkpoint(
        options.checkpoint, options.folder, dtype, overwrite=options.overwrite
    )
    print(folder)
    return 0
