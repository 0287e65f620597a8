"""Checks an index: every file that a record names is there, whole, and as it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_record
from maskstream.pipeline.archive.format.records import CatalogueRecord, FileEntry
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.plan.indexed import iterate_manifests


@dataclass(slots=True)
class Verification:
    """What a check has found.

    Attributes:
        num_files: files that were read.
        num_rows: rows of tables that were counted.
        faults: what is wrong, a sentence each.
    """

    num_files: int = 0
    num_rows: int = 0
    faults: list[str] = field(default_factory=list)


def verify_index(storage: Storage) -> Verification:
    """Read all files of an index and compare them with their records.

    Raises:
        IndexFormatError, ArchiveError: a record cannot be read.
    """
    found = Verification()
    catalogue = newest_catalogue(storage)
    merged = _merged_passes(storage, catalogue)
    for path, entry in _entries(storage, catalogue, merged):
        blob = storage.read(path)
        found.num_files += 1
        fault = _fault(blob, entry)
        if fault is None:
            found.num_rows += entry.num_rows
        else:
            found.faults.append(f"{path} {fault}")
    return found


def newest_catalogue(storage: Storage) -> CatalogueRecord | None:
    """The record of the newest catalogue that can be read; None if there is none."""
    numbers = [layout.catalogue_number(name) for name in storage.names("")]
    for number in sorted((one for one in numbers if one is not None), reverse=True):
        record = read_record(storage, layout.catalogue_head(number), CatalogueRecord)
        if record is not None:
            return record
    return None


def _entries(
    storage: Storage, catalogue: CatalogueRecord | None, merged: set[tuple[str, str]]
) -> Iterator[tuple[str, FileEntry]]:
    """All files that must be there, with their paths."""
    for manifest in iterate_manifests(storage):
        if (manifest.video_id, manifest.pass_key) not in merged:
            for entry in manifest.files:
                yield f"{layout.video_folder(manifest.video_id)}/{entry.name}", entry
    if catalogue is not None:
        for entry in (*catalogue.files, catalogue.passes):
            yield entry.name, entry


def _merged_passes(storage: Storage, catalogue: CatalogueRecord | None) -> set[tuple[str, str]]:
    """The passes whose own tables are deleted, because a catalogue holds their rows."""
    if catalogue is None:
        return set()
    blob = storage.read(catalogue.passes.name)
    if blob is None or _fault(blob, catalogue.passes) is not None:
        return set()  # told as a fault of that file
    rows = pq.read_table(pa.BufferReader(blob)).to_pylist()
    return {(row["video_id"], row["pass_key"]) for row in rows if row["is_sole"]}


def _fault(blob: bytes | None, entry: FileEntry) -> str | None:
    if blob is None:
        return "is missing"
    if len(blob) != entry.size_bytes:
        return f"has {len(blob)} bytes, not {entry.size_bytes}"
    if hashlib.sha256(blob).hexdigest() != entry.sha256:
        return "is damaged: its checksum differs"
    if entry.table is not None:
        num_rows = pq.read_metadata(pa.BufferReader(blob)).num_rows
        if num_rows != entry.num_rows:
            return f"has {num_rows} rows, not {entry.num_rows}"
    return None
