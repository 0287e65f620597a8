"""The parts of a long video as one: rows with the ids of the whole, each frame once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskstream.core.errors import IndexFormatError
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import ChunkRecord, FileEntry
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import OBSERVATIONS, SHOTS
from maskstream.pipeline.archive.indexing.chunk_files import is_content, put_table
from maskstream.pipeline.archive.indexing.rows import sort_table
from maskstream.pipeline.archive.indexing.stitching import Seam, Stitches, stitch
from maskstream.pipeline.archive.plan.jobs import Job

WITHOUT_MASKS = [name for name in OBSERVATIONS.names if name != "rle"]


class Parts:
    """The parts of a video, all of whose chunks are there.

    Memory: the rows of one chunk with masks, and all rows without.

    Args:
        storage: of the index.
        job: any part of the pass.
        records: of all chunks, by part.
    """

    def __init__(
        self, storage: Storage, job: Job, records: Sequence[Sequence[ChunkRecord]]
    ) -> None:
        self._storage = storage
        self._jobs = job.parts()
        self._records = records

    def stitch(self) -> Stitches:
        """Join the objects of the parts.

        Raises:
            IndexFormatError, ArchiveError: a file cannot be read, or is damaged.
        """
        objects = []
        for job, records in zip(self._jobs, self._records, strict=True):
            rows = read_observations(self._storage, job, records, ["object_id"])
            objects.append(pc.unique(rows["object_id"]).to_pylist())
        seams = [self._seam(number) for number in range(len(self._jobs) - 1)]
        return stitch(objects, seams, self._jobs[0].first_object_id)

    def write(self, stitches: Stitches) -> tuple[list[FileEntry], pa.Table]:
        """Write the observations of the whole video, a file for each chunk.

        Returns:
            The files, and all rows without masks.

        Raises:
            IndexFormatError, ArchiveError: files cannot be read or written.
        """
        entries, tables = [], []
        for job, records, ids in zip(self._jobs, self._records, stitches.ids, strict=True):
            for record in records:
                rows = read_observations(self._storage, job, [record], OBSERVATIONS.names)
                rows = rows.filter(_within(rows, job.owned.start_s, job.owned.end_s))
                renamed = [ids[one] for one in rows["object_id"].to_pylist()]
                column = rows.schema.get_field_index("object_id")
                rows = rows.set_column(
                    column, OBSERVATIONS.field(column), pa.array(renamed, pa.int32())
                )
                path = layout.stitched_observations(
                    job.video_id, job.pass_key, job.part, record.chunk
                )
                rows = sort_table(rows, "observations")
                entries.append(put_table(self._storage, path, "observations", rows))
                tables.append(rows.select(WITHOUT_MASKS))
        return entries, pa.concat_tables(tables)

    def shots(self) -> pa.Table | None:
        """The shots of the whole video; None if they were not looked for.

        Raises:
            IndexFormatError, ArchiveError: a file cannot be read, or is damaged.
        """
        of_parts = [
            (job, _read(self._storage, job, entry, SHOTS.names).to_pylist())
            for job, records in zip(self._jobs, self._records, strict=True)
            for entry in records[-1].files
            if entry.table == "shots"
        ]
        if not of_parts:
            return None
        all_rows = [row for _, rows in of_parts for row in rows]
        cuts = [
            (before, after)
            for job, rows in of_parts
            for before, after in pairwise(rows)
            if job.owned.holds(after["start_s"])
        ]
        starts = [*all_rows[:1], *(after for _, after in cuts)]
        ends = [*(before for before, _ in cuts), *all_rows[-1:]]
        shots = [
            {**start, "shot": number, "last_frame": end["last_frame"], "end_s": end["end_s"]}
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]
        return pa.Table.from_pylist(shots, schema=SHOTS)

    def _seam(self, number: int) -> Seam:
        """The seam behind a part."""
        job, size = self._jobs[number], self._records[number][-1]
        start_s = job.seams[number]
        sides = [
            self._overlap(part, start_s, start_s + job.overlap_s) for part in (number, number + 1)
        ]
        return Seam(sides[0], sides[1], (size.height, size.width), start_s)

    def _overlap(self, part: int, start_s: float, end_s: float) -> pa.Table:
        """The rows of a part within a span of time, with masks."""
        job, tables = self._jobs[part], [OBSERVATIONS.empty_table()]
        for record in self._records[part]:
            rows = read_observations(self._storage, job, [record], OBSERVATIONS.names)
            tables.append(rows.filter(_within(rows, start_s, end_s)))
        return pa.concat_tables(tables)


def read_observations(
    storage: Storage, job: Job, records: Sequence[ChunkRecord], columns: list[str]
) -> pa.Table:
    """Columns of the observations of chunks.

    Raises:
        IndexFormatError: a file is missing or damaged.
        ArchiveError: it cannot be read.
    """
    tables = [OBSERVATIONS.empty_table().select(columns)]
    for record in records:
        for entry in record.files:
            if entry.table == "observations":
                tables.append(_read(storage, job, entry, columns))
    return pa.concat_tables(tables)


def _read(storage: Storage, job: Job, entry: FileEntry, columns: list[str]) -> pa.Table:
    path = f"{layout.video_folder(job.video_id)}/{entry.name}"
    blob = storage.read(path)
    if blob is None or not is_content(blob, entry):
        raise IndexFormatError(f"{path} is missing or damaged")
    return pq.read_table(pa.BufferReader(blob), columns=columns)


def _within(rows: pa.Table, start_s: float | None, end_s: float | None) -> pa.ChunkedArray:
    """Which rows lie in a span of time."""
    times = rows["pts_s"]
    inside = pc.is_valid(times)
    if start_s is not None:
        inside = pc.and_(inside, pc.greater_equal(times, start_s))
    if end_s is not None:
        inside = pc.and_(inside, pc.less(times, end_s))
    return inside
