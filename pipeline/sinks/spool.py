"""Keeps results on disk until the end, for files that need them in another order."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskstream.core.errors import MaskstreamError, OutputError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.base import cannot_write, to_json

_FRAMES_PER_COMMIT = 64
_SCHEMA = """
CREATE TABLE frames (frame_index INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE objects (
    frame_index INTEGER NOT NULL, obj_id INTEGER NOT NULL, area INTEGER NOT NULL,
    record TEXT NOT NULL, PRIMARY KEY (frame_index, obj_id)
);
"""


@dataclass(frozen=True, slots=True)
class SpooledObject:
    """One object on one frame.

    Attributes:
        frame_index: index of the frame.
        area: number of pixels in the mask.
        record: see ``FrameResult.object_record``.
    """

    frame_index: int
    area: int
    record: dict[str, Any]


class ResultSpool:
    """A table of results on disk, read by frame or by object in bounded memory.

    The newer result of a frame replaces the older one. The file is unlinked as soon as it is open,
    so the system frees it however the process ends.
    """

    def __init__(self, folder: Path) -> None:
        """Create the table in ``folder``.

        Raises:
            OutputError: the folder cannot be written to.
        """
        self._folder = folder
        self._num_uncommitted = 0
        try:
            handle, name = tempfile.mkstemp(prefix=".maskstream-", dir=folder)
            os.close(handle)
            try:
                self._db = sqlite3.connect(name, isolation_level=None)
                # The file never outlives the process, so it needs no journal and no sync.
                self._db.executescript(
                    "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
                    f"PRAGMA temp_store = MEMORY; {_SCHEMA} BEGIN;"
                )
            finally:
                os.unlink(name)
        except (OSError, sqlite3.Error) as error:
            raise cannot_write(folder, error) from error

    def write(self, result: FrameResult) -> None:
        """Store the result of one frame.

        Raises:
            OutputError: the disk is full.
        """
        record = result.to_record()
        objects = record.pop("objects")
        areas = [int(np.count_nonzero(mask)) for mask in result.masks]  # faster than with an axis
        index = result.frame_index
        try:
            self._db.execute("REPLACE INTO frames VALUES (?, ?)", (index, to_json(record)))
            self._db.execute("DELETE FROM objects WHERE frame_index = ?", (index,))
            self._db.executemany(
                "INSERT INTO objects VALUES (?, ?, ?, ?)",
                [
                    (index, item["obj_id"], area, to_json(item))
                    for item, area in zip(objects, areas, strict=True)
                ],
            )
            self._num_uncommitted += 1
            if self._num_uncommitted >= _FRAMES_PER_COMMIT:
                self._db.execute("COMMIT")
                self._db.execute("BEGIN")
                self._num_uncommitted = 0
        except sqlite3.Error as error:
            raise cannot_write(self._folder, error) from error

    def frames(self) -> Iterator[dict[str, Any]]:
        """Frame records without their objects, in the order of frames."""
        for (text,) in self._select("SELECT record FROM frames ORDER BY frame_index"):
            yield json.loads(text)

    def objects(self) -> Iterator[SpooledObject]:
        """All objects, in the order of frames, then of object ids."""
        return self._objects("ORDER BY frame_index, obj_id")

    def objects_of_frame(self, frame_index: int) -> Iterator[SpooledObject]:
        """The objects of one frame."""
        return self._objects("WHERE frame_index = ? ORDER BY obj_id", frame_index)

    def objects_of_track(self, obj_id: int) -> Iterator[SpooledObject]:
        """One object on all its frames, in the order of frames."""
        return self._objects("WHERE obj_id = ? ORDER BY frame_index", obj_id)

    def track_ids(self) -> list[int]:
        """All object ids, in order. Also creates the index that makes reading by track fast."""
        for _ in self._select("CREATE INDEX IF NOT EXISTS tracks ON objects (obj_id, frame_index)"):
            pass
        rows = self._select("SELECT DISTINCT obj_id FROM objects ORDER BY obj_id")
        return [obj_id for (obj_id,) in rows]

    def results(self) -> Iterator[FrameResult]:
        """All results, in the order of frames."""
        for record in self.frames():
            objects = [item.record for item in self.objects_of_frame(record["frame_index"])]
            yield FrameResult.from_record({**record, "objects": objects})

    def close(self) -> None:
        """Free the disk space. Closing twice is fine."""
        with suppress(sqlite3.Error):
            self._db.close()

    def _objects(self, clause: str, *values: int) -> Iterator[SpooledObject]:
        query = f"SELECT frame_index, area, record FROM objects {clause}"
        for frame_index, area, text in self._select(query, *values):
            yield SpooledObject(frame_index, area, json.loads(text))

    def _select(self, query: str, *values: int) -> Iterator[tuple[Any, ...]]:
        try:
            # "yield from" would close the cursor when an iteration is abandoned, and then the
            # database may be closed already.
            for row in self._db.execute(query, values):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            raise cannot_write(self._folder, error) from error


@dataclass(frozen=True, slots=True)
class Export:
    """A file to make from the spool.

    Attributes:
        path: path of the file.
        write: writes the complete file to the path, or raises.
    """

    path: Path
    write: Callable[[ResultSpool, Path], None]


class SpoolSink:
    """Spools results and makes its files from them at the end."""

    def __init__(self, folder: Path, exports: list[Export]) -> None:
        """Create the spool in ``folder``.

        Raises:
            OutputError: the folder cannot be written to.
        """
        self._exports = exports
        self._written: list[Path] = []
        self._spool: ResultSpool | None = ResultSpool(folder)

    @property
    def paths(self) -> list[Path]:
        """The files that ``close`` makes or has made."""
        if self._spool is None:
            return self._written
        return [export.path for export in self._exports]

    def write(self, result: FrameResult) -> None:
        """See ``Sink.write``. After a failure, the frames before it can still be exported."""
        if self._spool is None:
            raise OutputError("the results are closed")
        self._spool.write(result)

    def close(self) -> None:
        """See ``Sink.close``. If one file fails, the others are still made."""
        if self._spool is None:
            return
        spool = self._spool
        first_error: MaskstreamError | None = None
        try:
            for export in self._exports:
                try:
                    export.write(spool, export.path)
                except MaskstreamError as error:
                    first_error = first_error or error
                else:
                    self._written.append(export.path)
        finally:
            self._spool = None
            spool.close()
        if first_error is not None:
            raise first_error

    def discard(self) -> None:
        """See ``Sink.discard``."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None
