"""What an index holds, by its records alone."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.core.errors import ArchiveError, IndexFormatError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_record, read_records
from maskstream.pipeline.archive.format.records import (
    CatalogueRecord,
    ChunkRecord,
    ConceptRecord,
    IndexHead,
    VideoManifest,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import FORMAT_VERSION, PASSES, TableName

PassId = tuple[str, str]
"""A video and a pass over it."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The newest catalogue that can be read.

    Attributes:
        record: None if there is none.
        passes: of the schema ``PASSES``.
    """

    record: CatalogueRecord | None
    passes: pa.Table

    @property
    def number(self) -> int:
        """0 if there is none."""
        return 0 if self.record is None else self.record.number

    def held(self) -> dict[PassId, tuple[int, int]]:
        """The passes that it holds, with their first and last object ids."""
        columns = [self.passes[name].to_pylist() for name in PASSES.names[:4]]
        return {
            (video, key): (first, last) for video, key, first, last in zip(*columns, strict=True)
        }

    def paths(self, table: TableName) -> list[str]:
        """Its files of a table."""
        files = [] if self.record is None else self.record.files
        return [entry.name for entry in files if entry.table == table]


NO_CATALOGUE = Catalogue(None, PASSES.empty_table())


@dataclass(frozen=True, slots=True)
class PartOfVideo:
    """A pass that is not whole: its chunks that are.

    Attributes:
        chunks: with the paths of their files of observations.
    """

    video_id: str
    chunks: tuple[ChunkRecord, ...]
    observations: tuple[str, ...] = field(default=())


def read_head(storage: Storage) -> IndexHead:
    """What the index is.

    Raises:
        ArchiveError: there is no index.
        IndexFormatError: it is of a later version.
    """
    blob = storage.read(layout.HEAD)
    where = f"{redact_url(storage.url)}/{layout.HEAD}"
    if blob is None:
        raise ArchiveError(f"{redact_url(storage.url)} is no index: it has no {layout.HEAD}")
    version = _version_of(blob)
    if version is not None and version != FORMAT_VERSION:
        raise IndexFormatError(
            f"{where}: the index is of version {version}; this program reads {FORMAT_VERSION}"
        )
    return IndexHead.from_bytes(blob, where)


def list_passes(storage: Storage) -> set[PassId]:
    """The passes that are whole."""
    found = (layout.pass_of(name) for name in storage.names(layout.MANIFESTS))
    return {one for one in found if one is not None}


def read_manifests(storage: Storage, passes: set[PassId]) -> dict[PassId, VideoManifest]:
    """The manifests of passes. Those that are gone by now, or half written, are left out."""
    paths = {layout.manifest(*one): one for one in sorted(passes)}
    records = read_records(storage, list(paths), VideoManifest)
    return {paths[path]: record for path, record in records.items()}


def read_catalogue(storage: Storage, known: Catalogue = NO_CATALOGUE) -> Catalogue:
    """The newest catalogue that can be read: ``known`` itself if there is no newer one."""
    numbers = (layout.catalogue_number(name) for name in storage.names(""))
    for number in sorted((one for one in numbers if one is not None), reverse=True):
        if number == known.number:
            return known
        record = read_record(storage, layout.catalogue_head(number), CatalogueRecord)
        passes = None if record is None else storage.read(record.passes.name)
        if record is not None and passes is not None:
            return Catalogue(record, pq.read_table(io.BytesIO(passes), schema=PASSES))
    return NO_CATALOGUE


def read_concepts(storage: Storage) -> list[ConceptRecord]:
    """What is known of the index's concepts."""
    paths = [f"{layout.CONCEPTS}/{name}" for name in storage.names(layout.CONCEPTS)]
    return list(read_records(storage, paths, ConceptRecord).values())


def read_parts(storage: Storage, whole: set[PassId]) -> dict[PassId, PartOfVideo]:
    """The chunks that are whole of passes that are not."""
    paths: dict[str, PassId] = {}
    for video_id in storage.folders(layout.VIDEOS):
        folder = layout.video_folder(video_id)
        for name in storage.names(folder):
            chunk = layout.chunk_of(name)
            if chunk is not None and (video_id, chunk) not in whole:
                paths[f"{folder}/{name}"] = (video_id, chunk)
    chunks: dict[PassId, list[ChunkRecord]] = {}
    for path, record in read_records(storage, sorted(paths), ChunkRecord).items():
        chunks.setdefault(paths[path], []).append(record)
    return {one: _part(one[0], found) for one, found in chunks.items()}


def _part(video_id: str, chunks: list[ChunkRecord]) -> PartOfVideo:
    ordered = tuple(sorted(chunks, key=lambda one: (one.part, one.chunk)))
    files = tuple(
        f"{layout.video_folder(video_id)}/{entry.name}"
        for chunk in ordered
        for entry in chunk.files
        if entry.table == "observations"
    )
    return PartOfVideo(video_id, ordered, files)


def _version_of(blob: bytes) -> object:
    """The version that a head names, whatever else is in it; None if it cannot be read."""
    try:
        content = json.loads(blob)
    except ValueError:
        return None
    return content.get("format_version") if isinstance(content, dict) else None
