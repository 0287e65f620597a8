"""The tables of an index in DuckDB: compacted files, and what came since.

Compacted files are read where they lie. Of passes that no catalogue holds, all but the observations
is kept in memory, since it lies in many small files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from maskstream.core.errors import ArchiveError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import VideoManifest
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import SCHEMAS, TableName
from maskstream.pipeline.archive.search.contents import Catalogue, PassId

IN_MEMORY: tuple[TableName, ...] = ("videos", "shots", "tracks")
MANY_FILES = 64
"""From so many files of observations on, a search first finds out which it needs."""

GONE: dict[TableName, str] = {
    "videos": "(r.video_id, r.pass_key) IN (SELECT (video_id, pass_key) FROM gone)",
    "shots": "r.video_id IN (SELECT video_id FROM gone)",
    "tracks": "EXISTS (SELECT 1 FROM gone g WHERE g.video_id = r.video_id "
    "AND r.object_id BETWEEN g.first_object_id AND g.last_object_id)",
}
GONE["observations"] = GONE["tracks"]
"""Whether a row ``r`` of a compacted file belongs to a pass in the table ``gone``."""


class StaleError(ArchiveError):
    """A file has been deleted since the index was read."""


class Database:
    """The tables, as views that any statement can use.

    ``tracks``, ``observations``, ``shots``, ``videos`` (a row a video), ``video_passes`` (a row a
    pass over a video) and ``looked_for`` (which concepts were looked for in which video).

    Promises: a statement sees the index as one ``update`` left it. Statements of several threads
    may run at once. They can read the files of the index, nothing else, and change nothing.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        root = storage.address("")
        if not storage.is_local and any(one in root for one in "*?["):
            raise ArchiveError(f"{redact_url(storage.url)}: an address must not hold *, ? or [")
        self._catalogue: dict[TableName, list[str]] = {}
        self._num_gone = 0
        self._observations: dict[PassId, list[str]] = {}
        self._connection = duckdb.connect(":memory:")
        if not storage.is_local:
            self._connection.register_filesystem(storage.filesystem)
        self._connection.execute("SET parquet_metadata_cache = true")
        self._connection.execute(f"SET allowed_directories = [{_quoted(root)}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        self._make_tables()

    def update(
        self,
        catalogue: Catalogue,
        gone: Iterable[PassId],
        added: Mapping[PassId, VideoManifest],
        dropped: Iterable[PassId],
    ) -> None:
        """Go on to another state of the index, all at once.

        Args:
            catalogue: the compacted files.
            gone: passes that the catalogue holds and the index does not, any more.
            added: passes to load, none of which is loaded.
            dropped: passes to forget, which were loaded.

        Raises:
            StaleError: a file is gone by now; nothing has changed.
            ArchiveError: a file cannot be read; nothing has changed.
        """
        catalogue_files: dict[TableName, list[str]] = {
            name: [self._storage.address(path) for path in catalogue.paths(name)]
            for name in SCHEMAS
        }
        observations = {one: files for one, files in self._observations.items()}
        for one in dropped:
            observations.pop(one, None)
        for one, manifest in added.items():
            observations[one] = self._files(manifest, "observations")
        held = catalogue.held()
        gone_rows = [[*one, *held[one]] for one in gone]
        with self._writing() as connection:
            connection.execute("DELETE FROM gone")
            _insert(connection, "gone", gone_rows)
            for one in dropped:
                self._forget(connection, one)
            for name in IN_MEMORY:
                self._load(connection, name, added)
            self._make_views(connection, catalogue_files, bool(gone_rows), observations)
        self._catalogue, self._num_gone = catalogue_files, len(gone_rows)
        self._observations = observations

    def add_part(
        self,
        one: PassId,
        tables: Mapping[TableName, pa.Table],
        observations: Sequence[str],
    ) -> None:
        """Show what there is of a pass that is not whole.

        Args:
            tables: its rows of the tables in memory.
            observations: the paths of its files of observations.
        """
        files = {
            **self._observations,
            one: [self._storage.address(path) for path in observations],
        }
        with self._writing() as connection:
            for name, rows in tables.items():
                connection.register("part", rows)
                columns = ", ".join(SCHEMAS[name].names)
                connection.execute(
                    f"INSERT INTO fresh_{name} SELECT {columns}, $of FROM part", {"of": _name(one)}
                )
                connection.unregister("part")
            self._make_views(connection, self._catalogue, self._num_gone > 0, files)
        self._observations = files

    @property
    def has_many_files(self) -> bool:
        """Whether it pays to name the videos whose observations are needed."""
        return sum(len(files) for files in self._observations.values()) >= MANY_FILES

    def observations_of(self, videos: set[str]) -> str:
        """What stands for ``observations`` in a statement that needs those of some videos only."""
        files = [
            file
            for (video_id, _), paths in self._observations.items()
            if video_id in videos
            for file in paths
        ]
        return f"({_union(self._catalogue['observations'], self._num_gone > 0, files)})"

    def rows(self, text: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement.

        Raises:
            StaleError: a file of the index is gone by now.
            ArchiveError: a file of it cannot be read.
        """
        with self._reading() as cursor:
            found: list[tuple[Any, ...]] = cursor.execute(text, dict(values or {})).fetchall()
            return found

    def table(self, text: str, values: Mapping[str, Any] | None = None) -> pa.Table:
        """The same, as an Arrow table."""
        with self._reading() as cursor:
            return cursor.sql(text, params=dict(values or {})).to_arrow_table()

    def close(self) -> None:
        """Release files and memory. Closing twice is fine."""
        self._connection.close()

    def _make_tables(self) -> None:
        for name in SCHEMAS:
            self._connection.register("empty", SCHEMAS[name].empty_table())
            self._connection.execute(
                f"CREATE TABLE fresh_{name} AS SELECT *, NULL::VARCHAR AS of_pass FROM empty"
            )
            self._connection.unregister("empty")
        self._connection.execute(
            "CREATE TABLE gone (video_id VARCHAR, pass_key VARCHAR, first_object_id INTEGER, "
            "last_object_id INTEGER)"
        )
        self._connection.execute("CREATE TABLE fresh_files (path VARCHAR, of_pass VARCHAR)")

    def _load(
        self,
        connection: duckdb.DuckDBPyConnection,
        name: TableName,
        added: Mapping[PassId, VideoManifest],
    ) -> None:
        files = [
            [path, _name(one)]
            for one, manifest in added.items()
            for path in self._files(manifest, name)
        ]
        if not files:
            return
        connection.execute("DELETE FROM fresh_files")
        _insert(connection, "fresh_files", files)
        columns = ", ".join(f"r.{column}" for column in SCHEMAS[name].names)
        connection.execute(
            f"INSERT INTO fresh_{name} SELECT {columns}, f.of_pass "
            f"FROM read_parquet($files, filename = true) r JOIN fresh_files f "
            "ON f.path = r.filename",
            {"files": [path for path, _ in files]},
        )

    def _forget(self, connection: duckdb.DuckDBPyConnection, one: PassId) -> None:
        for name in IN_MEMORY:
            connection.execute(f"DELETE FROM fresh_{name} WHERE of_pass = $of", {"of": _name(one)})

    def _make_views(
        self,
        connection: duckdb.DuckDBPyConnection,
        catalogue: Mapping[TableName, list[str]],
        some_are_gone: bool,
        observations: Mapping[PassId, list[str]],
    ) -> None:
        files = [path for paths in observations.values() for path in paths]
        bodies = {
            "observations": _union(catalogue["observations"], some_are_gone, files),
            "tracks": _beside_fresh("tracks", catalogue["tracks"], some_are_gone),
            "shots": "SELECT DISTINCT * FROM "
            f"({_beside_fresh('shots', catalogue['shots'], some_are_gone)})",
            "video_passes": _beside_fresh("videos", catalogue["videos"], some_are_gone),
        }
        for name, body in bodies.items():
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS {body}")
        one_value = ", ".join(
            f"any_value({column}) AS {column}"
            for column in SCHEMAS["videos"].names
            if column not in ("video_id", "concepts", "pass_key")
        )
        connection.execute(
            f"CREATE OR REPLACE VIEW videos AS SELECT video_id, {one_value}, "
            "list_sort(list_distinct(flatten(list(concepts)))) AS concepts "
            "FROM video_passes GROUP BY video_id"
        )
        connection.execute(
            "CREATE OR REPLACE VIEW looked_for AS SELECT DISTINCT video_id, "
            "unnest(concepts) AS concept FROM video_passes"
        )

    def _files(self, manifest: VideoManifest, table: TableName) -> list[str]:
        folder = layout.video_folder(manifest.video_id)
        return [
            self._storage.address(f"{folder}/{entry.name}")
            for entry in manifest.files
            if entry.table == table and entry.num_rows > 0
        ]

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction, undone if it fails."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION")
            yield cursor
            cursor.execute("COMMIT")
        except duckdb.IOException as error:
            raise self._unreadable(error) from error
        finally:
            cursor.close()

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield cursor
        except duckdb.IOException as error:
            raise self._unreadable(error) from error
        finally:
            cursor.close()

    def _unreadable(self, error: duckdb.IOException) -> ArchiveError:
        text = str(error).partition("\n")[0]
        if "No files found" in text or "No such file" in text:
            return StaleError(f"{redact_url(self._storage.url)} has changed: {text}")
        return ArchiveError(f"{redact_url(self._storage.url)} cannot be read: {text}")


def _beside_fresh(name: TableName, files: Sequence[str], some_are_gone: bool) -> str:
    columns = ", ".join(SCHEMAS[name].names)
    fresh = f"SELECT {columns} FROM fresh_{name}"
    parts = [_compacted(name, files, some_are_gone), fresh]
    return " UNION ALL ".join(part for part in parts if part)


def _union(catalogue: Sequence[str], some_are_gone: bool, files: Sequence[str]) -> str:
    columns = ", ".join(SCHEMAS["observations"].names)
    parts = [
        _compacted("observations", catalogue, some_are_gone),
        f"SELECT {columns} FROM read_parquet([{_list(files)}])" if files else "",
    ]
    none = f"SELECT {columns} FROM fresh_observations"
    return " UNION ALL ".join(part for part in parts if part) or none


def _compacted(name: TableName, files: Sequence[str], some_are_gone: bool) -> str:
    if not files:
        return ""
    columns = ", ".join(f"r.{column}" for column in SCHEMAS[name].names)
    condition = f" WHERE NOT ({GONE[name]})" if some_are_gone else ""
    return f"SELECT {columns} FROM read_parquet([{_list(files)}]) r{condition}"


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[Any]]
) -> None:
    if rows:
        columns = {
            f"c{number}": list(column) for number, column in enumerate(zip(*rows, strict=True))
        }
        connection.execute(
            f"INSERT INTO {table} SELECT {', '.join(f'unnest(${name})' for name in columns)}",
            columns,
        )


def _name(one: PassId) -> str:
    return "-".join(one)


def _list(paths: Sequence[str]) -> str:
    return ", ".join(_quoted(path) for path in paths)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
