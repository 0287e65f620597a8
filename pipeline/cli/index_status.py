"""``maskstream index status`` and ``verify``: what an index holds, and whether it is sound."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from maskstream.pipeline.cli.arguments import address

if TYPE_CHECKING:
    from maskstream.pipeline.archive.indexing.status import IndexStatus


def add_status_parser(actions: Any) -> ArgumentParser:
    """Define the options of ``status``."""
    parser: ArgumentParser = actions.add_parser(
        "status", help="say what an index holds, and what is missing", allow_abbrev=False
    )
    parser.add_argument("index", type=address, metavar="INDEX")
    parser.add_argument(
        "--sources",
        nargs="*",
        metavar="ARCHIVE",
        help="look for the files, too: which have changed, are gone, or have moved to one of these",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=status)
    return parser


def add_verify_parser(actions: Any) -> ArgumentParser:
    """Define the options of ``verify``."""
    parser: ArgumentParser = actions.add_parser(
        "verify", help="read all files of an index and compare checksums", allow_abbrev=False
    )
    parser.add_argument("index", type=address, metavar="INDEX")
    parser.set_defaults(run=verify)
    return parser


def status(options: Namespace) -> int:
    """Run ``status``; returns 0.

    Raises:
        MaskstreamError: there is no index, or it cannot be read.
    """
    from maskstream.pipeline.archive.format.storage import Storage
    from maskstream.pipeline.archive.indexing.status import status_of
    from maskstream.pipeline.archive.plan.indexed import compare_sources

    storage = Storage(options.index)
    found = status_of(storage)
    sources = None if options.sources is None else compare_sources(storage, options.sources)
    if options.json:
        told = asdict(found) | {"failures": [one.model_dump(mode="json") for one in found.failures]}
        print(json.dumps(told | ({} if sources is None else {"sources": asdict(sources)})))
        return 0
    _print(found)
    if sources is not None:
        for source in sources.changed:
            print(f"changed: {source}")
        for source in sources.missing:
            where = sources.moved.get(source)
            print(f"missing: {source}" if where is None else f"moved: {source} to {where}")
    return 0


def verify(options: Namespace) -> int:
    """Run ``verify``; returns 0, or 1 if something is wrong.

    Raises:
        MaskstreamError: there is no index, or a record of it cannot be read.
    """
    from maskstream.pipeline.archive.format.storage import Storage
    from maskstream.pipeline.archive.indexing.head import open_head
    from maskstream.pipeline.archive.indexing.verifying import verify_index

    storage = Storage(options.index)
    open_head(storage)
    found = verify_index(storage)
    for fault in found.faults:
        print(fault)
    print(f"{found.num_files} files, {found.num_rows} rows, {len(found.faults)} faults")
    return 1 if found.faults else 0


def _print(found: IndexStatus) -> None:
    print(f"checkpoint  {found.checkpoint}")
    print(f"concepts    {', '.join(found.concepts)}")
    print(f"videos      {found.num_videos} indexed, {found.num_unfinished} begun")
    print(f"frames      {found.num_frames} in {found.num_passes} passes")
    print(f"size        {found.num_bytes:,} bytes in {found.num_files} files")
    if found.builder is not None:
        print(f"building    {found.builder}")
    for concept, num_videos in found.incomplete.items():
        print(f"incomplete  {concept!r} was not looked for in {num_videos} videos")
    for failure in found.failures:
        print(f"failed      {failure.source}: {failure.reason}")
