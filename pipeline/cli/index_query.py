"""The options that say what is searched for in an index, and the index that they open."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from maskstream.core.errors import CheckpointError, InputError
from maskstream.pipeline.cli.arguments import address

if TYPE_CHECKING:
    from maskstream.pipeline.archive.search import Index, Query

_NUMBERS = {
    "near": "take concepts whose texts are at least so similar, too; from -1 to 1",
    "min-duration-s": "in sight for so many seconds at least",
    "max-duration-s": "in sight for so many seconds at most",
    "min-score": "mean score, from 0 to 1",
    "min-best-score": "best score, from 0 to 1",
    "min-area": "mean area, as a fraction of the frame",
    "max-area": "mean area, as a fraction of the frame",
    "min-speed": "mean speed, in diagonals of the frame a second",
    "max-speed": "mean speed, in diagonals of the frame a second",
    "within-deg": "how far from --direction, to either side; default: 45",
    "min-move": "how far it went at least, in diagonals of the frame",
    "min-at-once": "on one of its frames there are so many of its concept, itself included",
    "max-at-once": "on one of its frames there are at most so many",
}
_MOMENTS = {
    "since": "a moment such as 2026-03-01T22:00:00+01:00",
    "until": "such a moment",
    "daily-from": "a time of the day such as 22:00",
    "daily-until": "such a time; from 22:00 until 06:00 is the night",
    "time-zone": "of --daily-from and --daily-until, such as Europe/Vienna; default: UTC",
}


def add_query_options(parser: ArgumentParser) -> None:
    """Define INDEX, CONCEPT and the options that describe hits."""
    parser.add_argument("index", type=address, metavar="INDEX")
    parser.add_argument(
        "concept", metavar="CONCEPT", nargs="?", help="one that was indexed; default: all"
    )
    group = parser.add_argument_group("what hits must be")
    group.add_argument(
        "--video",
        action="append",
        dest="videos",
        metavar="PATTERN",
        help="in this video only: an id, or a pattern of names or addresses; repeatable",
    )
    for name, field in (("--after", "after_s"), ("--before", "before_s")):
        group.add_argument(
            name,
            type=_seconds,
            dest=field,
            metavar="T",
            help=f"in sight {name[2:]} this time of the video: seconds, or 1:02:03.5",
        )
    for name, text in _NUMBERS.items():
        group.add_argument(f"--{name}", type=_number, metavar="N", help=text)
    for name, text in _MOMENTS.items():
        group.add_argument(f"--{name}", metavar="T", help=text)
    group.add_argument(
        "--direction", type=_direction, help="left, right, up, down, or degrees: 90 is up"
    )
    group.add_argument(
        "--region",
        type=_polygon,
        metavar="X,Y …",
        help='corners of a polygon that its centre is in, such as "0,0 0.5,0 0.5,1"; 1 is the '
        "whole width or height",
    )
    group.add_argument(
        "--region-relation",
        choices=("in", "entered", "left", "stayed"),
        help="what it does in the region; default: in",
    )
    group.add_argument(
        "--stayed-for-s", type=_number, metavar="S", help="it stays in the region for so long"
    )
    for name, text in (("beside", "another thing is there"), ("without", "none is there")):
        group.add_argument(
            f"--{name}",
            action="append",
            type=_companion,
            metavar="CONCEPT[@S]",
            help=f"{text} at the same time, or within S seconds: 'red car@2'; @any: anywhere in "
            "the video; repeatable",
        )
    group.add_argument(
        "--query",
        type=_object,
        default={},
        metavar="JSON",
        help="a query as Index.search takes it; the other options are added to it",
    )
    group = parser.add_argument_group("which come first")
    group.add_argument("--order", help="best_score, duration, area, speed, start, recorded …")
    group.add_argument(
        "--ascending", action="store_true", default=None, help="the smallest come first"
    )
    group = parser.add_argument_group("index")
    group.add_argument(
        "--include-partial",
        action="store_true",
        help="search the whole chunks of videos that are being indexed, too",
    )
    group.add_argument(
        "--checkpoint",
        help="where the index's checkpoint is, for words that are new to the index; default: where "
        "it was at the build, if it is a path there. Without it they are compared as words",
    )


def query_of(options: Namespace) -> Query:
    """The query that the options describe.

    Raises:
        RequestError: it is refused; the message names everything that is wrong.
    """
    from maskstream.pipeline.archive.search import Query

    simple = [name.replace("-", "_") for name in (*_NUMBERS, *_MOMENTS)]
    simple += ["concept", "videos", "after_s", "before_s", "direction", "beside", "without"]
    simple += ["order", "ascending"]
    given = {name: value for name in simple if (value := getattr(options, name)) is not None}
    region = _region(options)
    return Query.parse(options.query | given | ({} if region is None else {"region": region}))


def open_index(options: Namespace) -> Index:
    """The index that the options name.

    Raises:
        ArchiveError: there is none, or it cannot be read.
    """
    from maskstream.pipeline.archive.search import Index

    return Index(
        options.index,
        include_partial=options.include_partial,
        embed=_Embedder(options.index, options.checkpoint),
    )


class _Embedder:
    """Embeds words with the checkpoint of the index, which it loads for the first one."""

    def __init__(self, url: str, checkpoint: str | None) -> None:
        self._url = url
        self._checkpoint = checkpoint
        self._embed: Callable[[str], list[float] | None] | None = None

    def __call__(self, text: str) -> list[float] | None:
        if self._embed is None:
            self._embed = self._load()
        return self._embed(text)

    def _load(self) -> Callable[[str], list[float] | None]:
        """What embeds. A checkpoint that was not named may be missing; one that was may not."""
        from maskstream.pipeline.archive.format.storage import Storage
        from maskstream.pipeline.archive.indexing.tools import checkpoint_digest, load_tools
        from maskstream.pipeline.archive.search.contents import read_head

        head = read_head(Storage(self._url))
        name = self._checkpoint or head.checkpoint_name
        try:
            if checkpoint_digest(name) != head.settings.checkpoint:
                raise CheckpointError(f"{name} is not the checkpoint that the index was made with")
            tools = load_tools(name, device="cpu", dtype="float32", score_threshold=None)
        except CheckpointError as error:
            if self._checkpoint is not None:
                raise
            print(f"maskstream: new words are compared letter by letter: {error}", file=sys.stderr)
            return lambda text: None
        return tools.embed


def _region(options: Namespace) -> dict[str, Any] | None:
    if options.region is None:
        if options.region_relation is not None or options.stayed_for_s is not None:
            raise InputError("--region-relation and --stayed-for-s go with --region")
        return None
    region = {"polygon": options.region}
    if options.region_relation is not None:
        region["relation"] = options.region_relation
    if options.stayed_for_s is not None:
        region |= {"relation": options.region_relation or "stayed", "for_s": options.stayed_for_s}
    return region


def _number(value: str) -> int | float:
    try:
        return int(value) if value.lstrip("-").isdecimal() else float(value)
    except ValueError:
        raise ArgumentTypeError(f"{value!r} is not a number") from None


def _seconds(value: str) -> float:
    """Seconds, or hours, minutes and seconds with colons between."""
    parts = value.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3:
        raise ArgumentTypeError(f"{value!r} is neither seconds nor a time such as 1:02:03.5")
    return float(sum(number * 60**place for place, number in enumerate(reversed(numbers))))


def _direction(value: str) -> str | float:
    return value if value.isalpha() else _number(value)


def _polygon(value: str) -> list[list[float]]:
    corners = [corner.split(",") for corner in value.split()]
    try:
        polygon = [[float(x), float(y)] for x, y in corners]
    except ValueError:
        polygon = []
    if len(polygon) < 3:
        raise ArgumentTypeError(f"{value!r} is not three or more corners such as 0.5,1")
    return polygon


def _companion(value: str) -> dict[str, Any]:
    concept, has_span, span = value.rpartition("@")
    if not has_span:
        return {"concept": value}
    return {"concept": concept, "within_s": None if span == "any" else _number(span)}


def _object(value: str) -> dict[str, Any]:
    try:
        query = json.loads(value)
    except ValueError as error:
        raise ArgumentTypeError(f"it is no JSON: {error}") from None
    if not isinstance(query, dict):
        raise ArgumentTypeError("it is no JSON object")
    return query
