"""The sources of one ``maskstream segment``, and the folder that each writes to."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from maskstream.core.errors import InputError
from maskstream.core.picture_files import SUFFIXES
from maskstream.pipeline.cli.output_folder import OutputFolder

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
        ".mxf", ".ogv", ".ts", ".webm", ".wmv",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """A source and where its results go."""

    source: str
    output: OutputFolder


def plan_jobs(options: Namespace) -> list[Job]:
    """The jobs of the command, in the order in which the sources were typed.

    A folder of videos stands for its videos. One source writes to ``--out`` itself, several to a
    folder NAME-masks each in ``--out``, or in the current folder.

    Raises:
        InputError: two sources would write to one folder, or it holds results already.
        OutputError: a folder cannot be written to.
    """
    sources = [path for typed in options.source for path in _expanded(typed)]
    is_one = len(sources) == 1 and sources == options.source and options.out is not None
    owners: dict[Path, str] = {}
    jobs = []
    for source in sources:
        folder = options.out if is_one else (options.out or Path()) / f"{_name(source)}-masks"
        if folder in owners:
            raise InputError(
                f"{owners[folder]} and {source} would both write to {folder}; segment them one by "
                "one, each with an --out of its own"
            )
        owners[folder] = source
        jobs.append(Job(source, OutputFolder(folder, overwrite=options.overwrite)))
    for job in jobs:
        job.output.check()
    return jobs


def _expanded(typed: str) -> list[str]:
    """The videos of a folder that holds videos and no pictures; otherwise what was typed."""
    try:
        files = [entry for entry in Path(typed).iterdir() if entry.is_file()]
    except OSError:
        return [typed]  # no folder; opening it will say what it is
    files = [path for path in files if not path.name.startswith(".")]
    if any(path.suffix.lower() in SUFFIXES for path in files):
        return [typed]
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    return [str(path) for path in sorted(videos, key=_in_natural_order)] or [typed]


def _in_natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _name(source: str) -> str:
    """The name of a file without its suffix; that of a folder is kept whole."""
    path = Path(os.path.abspath(source))
    return (path.name if path.is_dir() else path.stem) or "frames"
