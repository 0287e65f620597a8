"""The files of a pass over a video: written chunk by chunk, and at its end as a whole."""

from __future__ import annotations

import hashlib
import posixpath
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.core.errors import IndexFormatError
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_record
from maskstream.pipeline.archive.format.records import (
    ChunkRecord,
    FileEntry,
    VideoManifest,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.summary import tracks_of
from maskstream.pipeline.archive.format.tables import OBSERVATIONS, VIDEOS, TableName
from maskstream.pipeline.archive.indexing.rows import table_to_bytes
from maskstream.pipeline.archive.plan.jobs import Job

_WITHOUT_MASKS = [name for name in OBSERVATIONS.names if name != "rle"]
_PASS = re.compile(r"([0-9a-f]{16})-")


class ChunkFiles:
    """What is on storage of a pass.

    Promises: a chunk's record is written after its rows and its state, the manifest after all. What
    is written again, after a death, has the same name and the same bytes. So nothing that counts is
    ever half there.

    Args:
        storage: of the index.
        job: the pass.
        part: number of the part of the video.

    Attributes:
        next_chunk: number of the chunk that is to be written next.
    """

    def __init__(self, storage: Storage, job: Job, part: int) -> None:
        self._storage = storage
        self._job = job
        self._part = part
        self._records = self._read_records()
        self._state: bytes | None = None
        if self._records:
            self._state = self._read_state(self._records[-1])
            if self._state is None and not self.is_over:
                self._records = []  # its end is lost: all is done again, with the same bytes

    @property
    def next_chunk(self) -> int:
        """Number of the chunk that is to be written next."""
        return len(self._records)

    @property
    def is_over(self) -> bool:
        """Whether the last chunk is written."""
        return bool(self._records) and self._records[-1].is_last

    def read_state(self) -> bytes | None:
        """The state at the end of the last chunk, once; None if there is no chunk."""
        state, self._state = self._state, None
        return state

    def write(
        self,
        observations: pa.Table,
        *,
        state: bytes | None,
        shots: pa.Table | None,
        next_frame: int,
        num_frames: int,
        size: tuple[int, int],
    ) -> None:
        """Write the next chunk.

        Args:
            observations: its rows.
            state: what the next chunk goes on from; None with the last one.
            shots: of the whole part, with its last chunk; None if they are not wanted.
            next_frame: number of the first frame behind it.
            num_frames: how many of its frames were looked at.
            size: displayed width and height of the video, in pixels.
        """
        job, chunk = self._job, self.next_chunk
        entries = [
            self._put_table(
                layout.chunk_observations(job.video_id, job.pass_key, self._part, chunk),
                "observations",
                observations,
            )
        ]
        if shots is not None:
            path = layout.pass_table(job.video_id, job.pass_key, "shots")
            entries.append(self._put_table(path, "shots", shots))
        if state is not None:
            path = layout.chunk_state(job.video_id, job.pass_key, self._part, chunk)
            entries.append(self._put(path, state))
        record = ChunkRecord(
            pass_key=job.pass_key,
            part=self._part,
            chunk=chunk,
            first_frame=self._records[-1].next_frame if self._records else 0,
            next_frame=next_frame,
            num_frames=num_frames,
            files=entries,
            is_last=state is None,
            source=job.source,
            recorded_at=job.recorded_at,
            width=size[0],
            height=size[1],
        )
        self._storage.write(
            layout.chunk_record(job.video_id, job.pass_key, self._part, chunk), record.to_bytes()
        )
        if chunk > 0:
            self._storage.delete(
                layout.chunk_state(job.video_id, job.pass_key, self._part, chunk - 1)
            )
        self._records.append(record)

    def finish(self) -> None:
        """Write the tables of the whole pass and its manifest, and delete what it replaces.

        Raises:
            IndexFormatError: a file of the pass is missing or damaged.
            ArchiveError: the index cannot be read or written.
        """
        job = self._job
        observations = self._read_observations()
        ids = observations["object_id"].to_pylist()
        last = self._records[-1]
        tracks = tracks_of(
            observations,
            video_id=job.video_id,
            width=last.width,
            height=last.height,
            recorded_at=job.recorded_at,
        )
        entries = [
            self._put_table(self._table("videos"), "videos", self._videos_row()),
            self._put_table(self._table("tracks"), "tracks", tracks),
            *(entry for one in self._records for entry in one.files if entry.table is not None),
        ]
        manifest = VideoManifest(
            video_id=job.video_id,
            pass_key=job.pass_key,
            source=job.source,
            fingerprint=job.fingerprint,
            concepts=job.concepts,
            first_object_id=job.first_object_id,
            last_object_id=max(ids, default=job.first_object_id - 1),
            files=entries,
            num_frames=sum(one.num_frames for one in self._records),
            code_version=code_version(),
        )
        for pass_key in job.replaces:
            self._storage.delete(layout.manifest(job.video_id, pass_key))
        self._storage.write(layout.manifest(job.video_id, job.pass_key), manifest.to_bytes())
        self._delete_leftovers()

    def _videos_row(self) -> pa.Table:
        job, last = self._job, self._records[-1]
        row = {
            "video_id": job.video_id,
            "source": job.source,
            "name": posixpath.basename(job.source.rstrip("/")),
            "recorded_at": job.recorded_at,
            "duration_s": job.duration_s,
            "num_frames": sum(one.num_frames for one in self._records),
            "fps": job.fps,
            "width": last.width,
            "height": last.height,
            "container": job.container,
            "codec": job.codec,
            "size_bytes": job.fingerprint.size_bytes,
            "concepts": job.concepts,
            "pass_key": job.pass_key,
        }
        return pa.Table.from_pylist([row], schema=VIDEOS)

    def _table(self, name: TableName) -> str:
        return layout.pass_table(self._job.video_id, self._job.pass_key, name)

    def _read_records(self) -> list[ChunkRecord]:
        """The records of the chunks that are done, from the first one on."""
        job, records = self._job, list[ChunkRecord]()
        while True:
            path = layout.chunk_record(job.video_id, job.pass_key, self._part, len(records))
            record = read_record(self._storage, path, ChunkRecord)
            if record is None:
                return records
            records.append(record)

    def _read_state(self, record: ChunkRecord) -> bytes | None:
        for entry in record.files:
            if entry.table is None:
                blob = self._storage.read(f"{layout.video_folder(self._job.video_id)}/{entry.name}")
                return blob if blob is not None and _is_content(blob, entry) else None
        return None

    def _read_observations(self) -> pa.Table:
        tables = [OBSERVATIONS.empty_table().select(_WITHOUT_MASKS)]
        for record in self._records:
            for entry in record.files:
                if entry.table == "observations":
                    path = f"{layout.video_folder(self._job.video_id)}/{entry.name}"
                    blob = self._storage.read(path)
                    if blob is None or not _is_content(blob, entry):
                        raise IndexFormatError(f"{path} is missing or damaged")
                    tables.append(pq.read_table(pa.BufferReader(blob), columns=_WITHOUT_MASKS))
        return pa.concat_tables(tables)

    def _put_table(self, path: str, name: TableName, table: pa.Table) -> FileEntry:
        return self._put(path, table_to_bytes(table, name), name, table.num_rows)

    def _put(
        self, path: str, content: bytes, table: TableName | None = None, num_rows: int = 0
    ) -> FileEntry:
        self._storage.write(path, content)
        return FileEntry(
            name=posixpath.basename(path),
            table=table,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            num_rows=num_rows,
        )

    def _delete_leftovers(self) -> None:
        """Delete states, and the files of passes over this video that have no manifest."""
        job, storage = self._job, self._storage
        folder = layout.video_folder(job.video_id)
        is_kept = cache(lambda key: storage.read(layout.manifest(job.video_id, key)) is not None)
        for info in storage.files(folder):
            match = _PASS.match(info.name)
            if info.name.endswith("-state.bin") or (match and not is_kept(match[1])):
                storage.delete(f"{folder}/{info.name}")


def _is_content(blob: bytes, entry: FileEntry) -> bool:
    return len(blob) == entry.size_bytes and hashlib.sha256(blob).hexdigest() == entry.sha256


@cache
def code_version() -> str:
    """The version of maskstream."""
    try:
        return version("maskstream")
    except PackageNotFoundError:  # this is a source tree that was never installed
        return "(not installed)"
