"""Compacts an index: rows of many passes go into few sorted files, which one record names.

A reader sees the old catalogue or the new one, never a mixture. What is no more needed is deleted
later, when those who opened the index before have had time to go on.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.pipeline.archive.compaction.merge import Merger
from maskstream.pipeline.archive.compaction.sweep import sweep
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import (
    CatalogueRecord,
    FileEntry,
    SupersededFile,
    VideoManifest,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import PASSES, SCHEMAS, TableName
from maskstream.pipeline.archive.indexing.lock import BuildLock
from maskstream.pipeline.archive.search.contents import (
    PassId,
    list_passes,
    read_catalogue,
    read_head,
    read_manifests,
)

GRACE_S = 3600.0
TARGET_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction has done.

    Attributes:
        number: of the catalogue that is the newest now; 0 if there is none.
        num_added: passes that it holds and the one before did not.
        num_removed: passes that are gone, whose rows were left out.
        num_files: files that were written.
        num_bytes: their size.
        num_deleted: files that were deleted.
    """

    number: int
    num_added: int
    num_removed: int
    num_files: int
    num_bytes: int
    num_deleted: int


def compact(
    url: str,
    *,
    grace_s: float = GRACE_S,
    target_bytes: int = TARGET_BYTES,
    memory_limit: str = "2GB",
    wait_s: float = 0.0,
    now: datetime | None = None,
) -> Compacted:
    """Merge what is new into the catalogue, leave out what is gone, and delete what is due.

    Cut off at any moment, it leaves the index as it was; the next one does it again.

    Args:
        url: of the index.
        grace_s: how long files that no new reader needs are kept for those who opened the index
            before. 0 deletes them at once.
        target_bytes: about the size of a large file. Smaller ones are merged again when something
            new comes.
        memory_limit: for sorting, such as ``4GB``; what is more goes to the disk meanwhile.
        wait_s: how long to wait for another compaction to end. A build need not be waited for.
        now: the moment; None: this one.

    Raises:
        ArchiveError: there is no index, or it cannot be read or written.
        IndexFormatError: it is of another version.
        IndexBusyError: another process compacts it.
    """
    storage = Storage(url)
    read_head(storage)
    with BuildLock(storage, path=layout.COMPACT_LOCK, wait_s=wait_s):
        moment = now or datetime.now(UTC)
        return _Compaction(storage, grace_s, target_bytes, memory_limit, moment).run()


class _Compaction:
    """One compaction."""

    def __init__(
        self,
        storage: Storage,
        grace_s: float,
        target_bytes: int,
        memory_limit: str,
        now: datetime,
    ) -> None:
        self._storage = storage
        self._grace = timedelta(seconds=grace_s)
        self._target_bytes = target_bytes
        self._memory_limit = memory_limit
        self._now = now
        passes = list_passes(storage)
        self._old = read_catalogue(storage)
        held = self._old.held()
        self._added = read_manifests(storage, passes - set(held))
        self._gone = {one: held[one] for one in set(held) - passes}

    def run(self) -> Compacted:
        """Merge, write the record, sweep."""
        due = self._due_passes()
        if not self._added and not self._gone and not due and not self._due_files():
            return Compacted(self._old.number, 0, 0, 0, 0, 0)
        num_deleted = self._delete(due)
        number = max([0, *_numbers(self._storage)]) + 1
        self._storage.delete_folder(layout.catalogue_folder(number))
        files, written, replaced = self._merge(number)
        passes = self._write_passes(number, due)
        record = CatalogueRecord(
            number=number,
            files=files,
            passes=passes,
            superseded=self._superseded(replaced),
        )
        self._storage.write(layout.catalogue_head(number), record.to_bytes())
        if self._grace == timedelta(0):
            num_deleted += self._delete_now(record)
        num_deleted += sweep(self._storage, record)
        return Compacted(
            number=number,
            num_added=len(self._added),
            num_removed=len(self._gone),
            num_files=len(written),
            num_bytes=sum(entry.size_bytes for entry in written),
            num_deleted=num_deleted,
        )

    def _merge(self, number: int) -> tuple[list[FileEntry], list[FileEntry], list[str]]:
        """Write the files of a new catalogue.

        Returns:
            All its files, those among them that were written, and the old ones that they replace.
        """
        kept: list[FileEntry] = []
        written: list[FileEntry] = []
        replaced: list[str] = []
        old = [] if self._old.record is None else self._old.record.files
        with Merger(self._storage, self._gone, self._target_bytes, self._memory_limit) as merger:
            for name in SCHEMAS:
                entries = [entry for entry in old if entry.table == name]
                added = self._own_files(name)
                again = merger.to_rewrite(name, entries, has_more=bool(added))
                kept += [entry for entry in entries if entry not in again]
                replaced += [entry.name for entry in again]
                paths = [*(entry.name for entry in again), *added]
                written += merger.merge(name, paths, number)
        return [*kept, *written], written, replaced

    def _own_files(self, name: TableName) -> list[str]:
        return [path for manifest in self._added.values() for path in own_files(manifest, name)]

    def _write_passes(self, number: int, due: set[PassId]) -> FileEntry:
        rows = [
            row | {"is_sole": row["is_sole"] or (row["video_id"], row["pass_key"]) in due}
            for row in self._old.passes.to_pylist()
            if (row["video_id"], row["pass_key"]) not in self._gone
        ]
        rows += [
            {
                "video_id": one[0],
                "pass_key": one[1],
                "first_object_id": manifest.first_object_id,
                "last_object_id": manifest.last_object_id,
                "merged_at": self._now,
                "is_sole": False,
            }
            for one, manifest in self._added.items()
        ]
        rows.sort(key=lambda row: (row["video_id"], row["pass_key"]))
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=PASSES), buffer, compression="zstd")
        path, content = layout.catalogue_passes(number), buffer.getvalue()
        self._storage.write(path, content)
        return FileEntry(
            name=path,
            table=None,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            num_rows=len(rows),
        )

    def _superseded(self, replaced: Iterable[str]) -> list[SupersededFile]:
        """What is to be deleted some day: what is not due yet, and what this catalogue replaces."""
        if self._old.record is None:
            return []
        due = set(self._due_files())
        head = layout.catalogue_head(self._old.number)
        return [
            *(one for one in self._old.record.superseded if one.path not in due),
            *(
                SupersededFile(path=path, since=self._now)
                for path in (*replaced, self._old.record.passes.name, head)
            ),
        ]

    def _due_files(self) -> list[str]:
        superseded = [] if self._old.record is None else self._old.record.superseded
        return [one.path for one in superseded if one.since + self._grace <= self._now]

    def _due_passes(self) -> set[PassId]:
        """Passes whose own tables nobody needs any more, since a catalogue holds their rows."""
        return {
            (row["video_id"], row["pass_key"])
            for row in self._old.passes.to_pylist()
            if not row["is_sole"]
            and row["merged_at"] + self._grace <= self._now
            and (row["video_id"], row["pass_key"]) not in self._gone
        }

    def _delete(self, passes: set[PassId]) -> int:
        """Delete what the old catalogue says is due; how many files."""
        paths = self._due_files()
        for manifest in read_manifests(self._storage, passes).values():
            paths += own_files(manifest)
        for path in paths:
            self._storage.delete(path)
        return len(paths)

    def _delete_now(self, record: CatalogueRecord) -> int:
        """Delete what this very compaction has made needless; the next one would, too."""
        paths = [one.path for one in record.superseded]
        for manifest in self._added.values():
            paths += own_files(manifest)
        for path in paths:
            self._storage.delete(path)
        return len(paths)


def own_files(manifest: VideoManifest, table: TableName | None = None) -> list[str]:
    """The paths of a pass's own tables: all of them, or those of one table that have rows."""
    folder = layout.video_folder(manifest.video_id)
    return [
        f"{folder}/{entry.name}"
        for entry in manifest.files
        if entry.table is not None
        and (table is None or (entry.table == table and entry.num_rows > 0))
    ]


def _numbers(storage: Storage) -> list[int]:
    found = (layout.catalogue_number(name) for name in storage.names(""))
    return [number for number in found if number is not None]
