"""Reads the records of an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from maskstream.pipeline.archive.format.records import Record
from maskstream.pipeline.archive.format.storage import Storage

R = TypeVar("R", bound=Record)


def read_record(storage: Storage, path: str, kind: type[R]) -> R | None:
    """Read a record; None if there is none, or if only a part of it was written.

    Raises:
        IndexFormatError: it is no such record.
        ArchiveError: it cannot be read.
    """
    return parse_record(storage.read(path), path, kind)


def read_records(storage: Storage, paths: Sequence[str], kind: type[R]) -> dict[str, R]:
    """Read many records at once. Those that are not there, or not whole, are left out.

    Raises:
        IndexFormatError, ArchiveError: as :func:`read_record`.
    """
    found = {
        path: parse_record(blob, path, kind) for path, blob in storage.read_many(paths).items()
    }
    return {path: record for path, record in found.items() if record is not None}


def parse_record(blob: bytes | None, path: str, kind: type[R]) -> R | None:
    """Parse the bytes of a record; None if there are none, or if their end is missing.

    A write that was cut off leaves the beginning of a record. The last line, which closes the
    whole, is missing then.

    Raises:
        IndexFormatError: it is no such record.
    """
    if blob is None or not blob.endswith(b"\n}\n"):
        return None
    return kind.from_bytes(blob, path)
