"""Hits as rows: JSON lines, CSV, Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.core.errors import OutputError
from maskstream.pipeline.archive.format.tables import TRACKS, VIDEOS
from maskstream.pipeline.archive.search import Hit
from maskstream.pipeline.sinks.base import to_json, whole_file, whole_path

RowFormat = Literal["json", "csv", "parquet"]

_NAMES = tuple(one.name for one in fields(Hit))
_BATCH = 4096


def hit_record(hit: Hit) -> dict[str, Any]:
    """A hit as JSON values; moments as ISO 8601."""
    record = asdict(hit)
    if hit.started_at is not None:
        record["started_at"] = hit.started_at.isoformat()
    return record


def write_rows(hits: Iterable[Hit], path: Path, row_format: RowFormat) -> int:
    """Write a file with a row for each hit, in their order; how many there were.

    Raises:
        OutputError: the file cannot be written.
    """
    if row_format == "parquet":
        return _write_parquet(hits, path)
    with whole_file(path) as file:
        return print_rows(hits, file, row_format)


def print_rows(hits: Iterable[Hit], file: TextIO, row_format: RowFormat) -> int:
    """Write rows of text to an open file, each as it comes; how many there were."""
    return print_records(map(hit_record, hits), _NAMES, file, row_format)


def print_records(
    records: Iterable[dict[str, Any]], names: Sequence[str], file: TextIO, row_format: RowFormat
) -> int:
    """Write rows of JSON values with these names to an open file; how many there were."""
    if row_format == "json":
        return sum(1 for record in records if file.write(to_json(record) + "\n"))
    if row_format != "csv":
        raise OutputError(f"rows of {row_format} are not text: they need a file")
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    return sum(1 for record in records if writer.writerow(record))


def _schema() -> pa.Schema:
    known = {field.name: field for field in [*VIDEOS, *TRACKS]}
    return pa.schema(
        [
            pa.field("similarity", pa.float64()) if name == "similarity" else known[name]
            for name in _NAMES
        ]
    )


def _write_parquet(hits: Iterable[Hit], path: Path) -> int:
    schema, number = _schema(), 0
    rows: list[dict[str, Any]] = []
    with (
        whole_path(path) as part,
        pq.ParquetWriter(part, schema, compression="zstd") as writer,
    ):
        for hit in hits:
            number += 1
            rows.append(asdict(hit))
            if len(rows) == _BATCH:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return number
