"""Merges files of a table into few sorted ones."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.core.closing import Closing
from maskstream.core.errors import ArchiveError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import FileEntry
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import ROW_GROUP, SCHEMAS, SORTED_BY, TableName
from maskstream.pipeline.archive.search.contents import PassId
from maskstream.pipeline.archive.search.database import GONE

_SMALL = 0.5
"""A file below this share of the target is merged again."""


class Merger(Closing):
    """Reads and sorts with DuckDB, in bounded memory.

    Args:
        gone: passes whose rows are left out, with their first and last object ids.
        target_bytes: about how large a file is.
        memory_limit: of sorting; what is more goes to the disk meanwhile.
    """

    def __init__(
        self,
        storage: Storage,
        gone: Mapping[PassId, tuple[int, int]],
        target_bytes: int,
        memory_limit: str,
    ) -> None:
        self._storage = storage
        self._target_bytes = target_bytes
        self._has_gone = bool(gone)
        self._spill = tempfile.TemporaryDirectory(prefix="maskstream-compact-")
        self._connection = duckdb.connect(
            ":memory:",
            config={"memory_limit": memory_limit, "temp_directory": self._spill.name},
        )
        if not storage.is_local:
            self._connection.register_filesystem(storage.filesystem)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(
            "CREATE TABLE gone (video_id VARCHAR, pass_key VARCHAR, first_object_id INTEGER, "
            "last_object_id INTEGER)"
        )
        if gone:
            rows = [[*one, *ids] for one, ids in gone.items()]
            self._connection.executemany("INSERT INTO gone VALUES (?, ?, ?, ?)", rows)

    def to_rewrite(
        self, name: TableName, entries: Sequence[FileEntry], *, has_more: bool
    ) -> list[FileEntry]:
        """Which files are to be merged again: those with rows that are gone, and small ones."""
        small = [one for one in entries if one.size_bytes < _SMALL * self._target_bytes]
        if not has_more and len(small) < 2:
            small = []
        return [one for one in entries if one in small or self._has_rows_gone(name, one)]

    def merge(self, name: TableName, paths: Sequence[str], number: int) -> list[FileEntry]:
        """Write the rows of files, sorted, into new files of a catalogue.

        Raises:
            ArchiveError: a file cannot be read or written.
        """
        if not paths:
            return []
        entries: list[FileEntry] = []
        with self._sorted(name, paths) as batches:
            batch = next(batches, None)
            while batch is not None:
                path = layout.catalogue_table(number, name, len(entries))
                batch, entry = self._write(name, path, batch, batches)
                entries.append(entry)
        return entries

    def close(self) -> None:
        """Release memory and disk."""
        self._connection.close()
        self._spill.cleanup()

    def _has_rows_gone(self, name: TableName, entry: FileEntry) -> bool:
        if not self._has_gone:
            return False
        with self._reading():
            found = self._connection.execute(
                f"SELECT 1 FROM read_parquet($files) r WHERE {GONE[name]} LIMIT 1",
                {"files": [self._storage.address(entry.name)]},
            ).fetchall()
        return bool(found)

    @contextmanager
    def _sorted(self, name: TableName, paths: Sequence[str]) -> Iterator[Iterator[pa.RecordBatch]]:
        schema = SCHEMAS[name]
        columns = ", ".join(f"r.{column}" for column in schema.names)
        left = f"WHERE NOT ({GONE[name]})" if self._has_gone else ""
        order = ", ".join(SORTED_BY[name])
        text = f"SELECT {columns} FROM read_parquet($files) r {left} ORDER BY {order}"
        values: dict[str, Any] = {"files": [self._storage.address(path) for path in paths]}
        with self._reading():
            reader = self._connection.sql(text, params=values).to_arrow_reader(ROW_GROUP[name])
            yield (batch.cast(schema) for batch in reader if batch.num_rows)

    def _write(
        self,
        name: TableName,
        path: str,
        batch: pa.RecordBatch | None,
        batches: Iterator[pa.RecordBatch],
    ) -> tuple[pa.RecordBatch | None, FileEntry]:
        """Write batches until the file is large enough; the batch that is next, and the file."""
        num_rows = 0
        with self._storage.writing(path) as file:
            hashed = _Hashed(file)
            with pq.ParquetWriter(
                hashed, SCHEMAS[name], compression="zstd", write_page_index=True
            ) as writer:
                while batch is not None and hashed.num_bytes < self._target_bytes:
                    writer.write_batch(batch, row_group_size=ROW_GROUP[name])
                    num_rows += batch.num_rows
                    batch = next(batches, None)
        return batch, FileEntry(
            name=path,
            table=name,
            size_bytes=hashed.num_bytes,
            sha256=hashed.digest.hexdigest(),
            num_rows=num_rows,
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            text = str(error).partition("\n")[0]
            raise ArchiveError(f"{redact_url(self._storage.url)}: {text}") from error


class _Hashed:
    """A file that is written, with the number and the digest of its bytes."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.num_bytes = 0

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        self.num_bytes += len(content)
        self._file.write(content)
        return len(content)

    def tell(self) -> int:
        return self.num_bytes

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """The file is closed by who opened it."""
