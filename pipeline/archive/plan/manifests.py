"""Manifests: text, CSV or Parquet files that name the videos of an archive."""

from __future__ import annotations

import csv
import io
import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.core.errors import InputError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.archive.plan.addresses import is_local, locate

_SUFFIXES = (".txt", ".lst", ".csv", ".parquet")
_COLUMNS = ("source", "recorded_at")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a manifest.

    Attributes:
        source: address of a video. A relative path is taken from the manifest's folder.
        recorded_at: when the recording began; None if the manifest does not say.
    """

    source: str
    recorded_at: datetime | None = None


def is_manifest(address: str) -> bool:
    """Whether a file is read as a manifest, by its suffix."""
    return address.lower().endswith(_SUFFIXES)


def read_manifest(address: str) -> Iterator[Entry]:
    """Read a manifest.

    Text: an address a line; empty lines and those with ``#`` are comments. CSV and Parquet: the
    column ``source``, and ``recorded_at`` (ISO 8601, UTC unless it says otherwise) if it is known.

    Raises:
        InputError: it cannot be read, or has columns that are not known; the message names them.
    """
    shown = redact_url(address)
    fs, path = locate(address)
    try:
        content: bytes = fs.cat_file(path)
        if path.lower().endswith(".parquet"):
            rows = _parquet_rows(content, shown)
        elif path.lower().endswith(".csv"):
            rows = _csv_rows(content.decode("utf-8-sig"), shown)
        else:
            rows = _text_rows(content.decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise InputError(f"{shown} cannot be read as a manifest: {error}") from error
    for number, row in enumerate(rows, start=1):
        source = row.get("source")
        if not isinstance(source, str) or not source:
            raise InputError(f"{shown}: row {number} names no source")
        recorded_at = _moment(row.get("recorded_at"), f"{shown}: row {number}")
        yield Entry(_beside(source, address), recorded_at)


def _text_rows(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield {"source": line.strip()}


def _csv_rows(text: str, shown: str) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    _check_columns(reader.fieldnames or (), shown)
    return iter(reader)


def _parquet_rows(content: bytes, shown: str) -> Iterator[dict[str, Any]]:
    table = pq.read_table(pa.BufferReader(content))
    _check_columns(table.column_names, shown)
    return (row for batch in table.to_batches() for row in batch.to_pylist())


def _check_columns(names: Iterable[str], shown: str) -> None:
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown:
        raise InputError(
            f"{shown} has the unknown columns {', '.join(map(repr, unknown))}; a manifest has "
            "'source' and may have 'recorded_at'"
        )
    if "source" not in names:
        raise InputError(f"{shown} has no column 'source'")


def _moment(value: Any, where: str) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise InputError(f"{where}: recorded_at is {value!r}; expected ISO 8601") from error
    if not isinstance(value, datetime):
        raise InputError(f"{where}: recorded_at is {value!r}; expected a moment")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _beside(source: str, manifest: str) -> str:
    if not is_local(source) or os.path.isabs(source):
        return source
    return posixpath.join(posixpath.dirname(manifest), source)
