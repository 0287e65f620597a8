"""The options of ``maskstream segment``."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from maskstream.pipeline.cli.arguments import count, positive, probability, rate
from maskstream.pipeline.cli.typed_prompts import add_prompt_options
from maskstream.pipeline.sinks import FORMATS

_EPILOG = """\
coordinates are normalised: x and width are fractions of the frame's width, y and height are
fractions of its height, counted from the top left corner. With --pixels they are pixels.

examples:
  maskstream segment clip.mp4 --text "red circle" --text "dog" --out results
  maskstream segment clip.mp4 --point 0.4,0.6 --label ball --point "0.1,0.2;0.15,0.3,0@48"
  maskstream segment frames/ --pixels --box 120,80,64,48@10 --direction both --start-frame 10
  maskstream segment monday.mp4 tuesday.mp4 week/ --text "dog" --out results
"""


def add_segment_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "segment",
        help="find and follow things in a video by words, points, boxes or masks",
        description="Find and follow things in video files, folders of pictures, pictures and "
        "folders of videos. Several sources are segmented one after the other, with the same "
        "prompts, each into a folder of its own.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help="video file, folder of pictures, picture, or folder of videos",
    )
    add_prompt_options(parser)
    _add_model_options(parser)
    _add_run_options(parser)
    _add_output_options(parser)


def _add_model_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--checkpoint", help="tiny (embedded), a folder, a .pt file or a hub name; default: tiny"
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1 …; default: CUDA where there is one")
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="default: bfloat16 on CUDA, else float32",
    )
    group.add_argument(
        "--score-threshold",
        type=probability,
        metavar="P",
        help="the least score that a detection needs, 0 to 1; default: that of the checkpoint",
    )
    group.add_argument(
        "--latency",
        choices=("delayed", "live"),
        default="delayed",
        help="delayed leaves out objects that prove spurious; live gives each frame at once",
    )


def _add_run_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--direction",
        choices=("forward", "backward", "both"),
        default="forward",
        help="from --start-frame to the end, from there to the beginning, or one after the other",
    )
    group.add_argument(
        "--start-frame",
        type=count,
        metavar="FRAME",
        help="the frame to start on, counted from 0; default: forward 0, backward the last frame, "
        "both the first @FRAME of a prompt",
    )
    group.add_argument(
        "--max-frames", type=positive, metavar="N", help="at most N frames in each direction"
    )
    group.add_argument(
        "--fps",
        type=rate,
        metavar="FPS",
        help="the frames per second of a folder of pictures; default: 25",
    )


def _add_output_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write; default: ./NAME-masks with the name of SOURCE. Of several sources, "
        "each gets a folder NAME-masks in DIR",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of an earlier run, all of them; otherwise they are in the way",
    )
    group.add_argument(
        "--format",
        type=_formats,
        default=list(FORMATS),
        metavar="LIST",
        help=f"which files to write, of {','.join(FORMATS)}; default: all",
    )
    group.add_argument("--no-overlay", action="store_true", help="write no overlay video")
    group.add_argument(
        "--font", metavar="FILE", help="a TrueType font for the labels in the overlay"
    )
    group.add_argument("--debug", action="store_true", help="show tracebacks of errors")


def _formats(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise ArgumentTypeError(f"{value!r}: choose from {','.join(FORMATS)}")
    return names
