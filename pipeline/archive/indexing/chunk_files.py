"""The files of a pass over a video, written chunk by chunk."""

from __future__ import annotations

import hashlib
import posixpath

import pyarrow as pa

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_record
from maskstream.pipeline.archive.format.records import ChunkRecord, FileEntry
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import TableName
from maskstream.pipeline.archive.indexing.rows import table_to_bytes
from maskstream.pipeline.archive.plan.jobs import Job


class ChunkFiles:
    """What is on storage of a pass, or of its part of a long video.

    Promises: a chunk's record is written after its rows and its state. What is written again, after
    a death, has the same name and the same bytes. So nothing that counts is ever half there.

    Args:
        storage: of the index.
        job: the part of a pass.

    Attributes:
        next_chunk: number of the chunk that is to be written next.
    """

    def __init__(self, storage: Storage, job: Job) -> None:
        self._storage = storage
        self._job = job
        self._records = read_chunk_records(storage, job, job.part)
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
            put_table(
                self._storage,
                layout.chunk_observations(job.video_id, job.pass_key, job.part, chunk),
                "observations",
                observations,
            )
        ]
        if shots is not None:
            path = layout.pass_table(job.video_id, job.pass_key, "shots")
            if job.num_parts > 1:
                path = layout.part_shots(job.video_id, job.pass_key, job.part)
            entries.append(put_table(self._storage, path, "shots", shots))
        if state is not None:
            path = layout.chunk_state(job.video_id, job.pass_key, job.part, chunk)
            entries.append(put_file(self._storage, path, state))
        record = ChunkRecord(
            pass_key=job.pass_key,
            part=job.part,
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
            layout.chunk_record(job.video_id, job.pass_key, job.part, chunk), record.to_bytes()
        )
        if chunk > 0:
            self._storage.delete(
                layout.chunk_state(job.video_id, job.pass_key, job.part, chunk - 1)
            )
        self._records.append(record)

    def _read_state(self, record: ChunkRecord) -> bytes | None:
        for entry in record.files:
            if entry.table is None:
                blob = self._storage.read(f"{layout.video_folder(self._job.video_id)}/{entry.name}")
                return blob if blob is not None and is_content(blob, entry) else None
        return None


def read_chunk_records(storage: Storage, job: Job, part: int) -> list[ChunkRecord]:
    """The records of the chunks of a part that are done, from the first one on.

    Raises:
        IndexFormatError, ArchiveError: they cannot be read.
    """
    records: list[ChunkRecord] = []
    while True:
        path = layout.chunk_record(job.video_id, job.pass_key, part, len(records))
        record = read_record(storage, path, ChunkRecord)
        if record is None:
            return records
        records.append(record)


def put_table(storage: Storage, path: str, name: TableName, table: pa.Table) -> FileEntry:
    """Write a table; returns what a record says about it."""
    return put_file(storage, path, table_to_bytes(table, name), name, table.num_rows)


def put_file(
    storage: Storage, path: str, content: bytes, table: TableName | None = None, num_rows: int = 0
) -> FileEntry:
    """Write a file; returns what a record says about it."""
    storage.write(path, content)
    return FileEntry(
        name=posixpath.basename(path),
        table=table,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        num_rows=num_rows,
    )


def is_content(blob: bytes, entry: FileEntry) -> bool:
    """Whether bytes are those that a record tells of."""
    return len(blob) == entry.size_bytes and hashlib.sha256(blob).hexdigest() == entry.sha256
