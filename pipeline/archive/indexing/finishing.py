"""Finishes a pass whose chunks are all there: its tables as a whole, and last its manifest."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import ChunkRecord, FileEntry, VideoManifest
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.summary import tracks_of
from maskstream.pipeline.archive.format.tables import VIDEOS, TableName
from maskstream.pipeline.archive.indexing.chunk_files import put_table, read_chunk_records
from maskstream.pipeline.archive.indexing.parts import WITHOUT_MASKS, Parts, read_observations
from maskstream.pipeline.archive.indexing.versions import code_version
from maskstream.pipeline.archive.plan.jobs import Job

_PASS = re.compile(r"([0-9a-f]{16})-")
_OF_CHUNKS = re.compile(r"-state\.bin$")


@dataclass(frozen=True, slots=True)
class _Whole:
    """A pass as a whole.

    Attributes:
        entries: its files with observations and shots.
        observations: all of them, without masks.
        num_frames: how many frames were looked at.
        losses: what could not be joined.
    """

    entries: list[FileEntry]
    observations: pa.Table
    num_frames: int
    losses: list[str] = field(default_factory=list)


def finish_pass(storage: Storage, job: Job) -> bool:
    """Finish a pass if all chunks of all its parts are there.

    Returns:
        Whether it is finished; False: other parts are not over. The one that is over last finishes;
        should two do so at once, they write the same bytes.

    Raises:
        IndexFormatError: a file of the pass is missing or damaged.
        ArchiveError: the index cannot be read or written.
    """
    parts = [read_chunk_records(storage, job, part) for part in range(job.num_parts)]
    if not all(records and records[-1].is_last for records in parts):
        return False
    whole = _one_part(storage, job, parts[0]) if len(parts) == 1 else _stitched(storage, job, parts)
    size = parts[0][-1].width, parts[0][-1].height
    tracks = tracks_of(
        whole.observations,
        video_id=job.video_id,
        width=size[0],
        height=size[1],
        recorded_at=job.recorded_at,
    )
    highest = pc.max(whole.observations["object_id"]).as_py()
    manifest = VideoManifest(
        video_id=job.video_id,
        pass_key=job.pass_key,
        source=job.source,
        fingerprint=job.fingerprint,
        concepts=job.concepts,
        first_object_id=job.first_object_id,
        last_object_id=job.first_object_id - 1 if highest is None else highest,
        files=[
            _put(storage, job, "videos", _videos_row(job, size, whole.num_frames)),
            _put(storage, job, "tracks", tracks),
            *whole.entries,
        ],
        num_frames=whole.num_frames,
        losses=whole.losses,
        code_version=code_version(),
    )
    for pass_key in job.replaces:
        storage.delete(layout.manifest(job.video_id, pass_key))
    storage.write(layout.manifest(job.video_id, job.pass_key), manifest.to_bytes())
    _delete_leftovers(storage, manifest)
    return True


def _one_part(storage: Storage, job: Job, records: Sequence[ChunkRecord]) -> _Whole:
    """A pass of one part: its chunks' files are those of the pass."""
    return _Whole(
        [entry for one in records for entry in one.files if entry.table is not None],
        read_observations(storage, job, records, WITHOUT_MASKS),
        sum(one.num_frames for one in records),
    )


def _stitched(storage: Storage, job: Job, records: Sequence[Sequence[ChunkRecord]]) -> _Whole:
    """A pass of several parts: its files are made of theirs."""
    parts = Parts(storage, job, records)
    stitches = parts.stitch()
    entries, observations = parts.write(stitches)
    shots = parts.shots()
    if shots is not None:
        entries.append(_put(storage, job, "shots", shots))
    num_frames = sum(one.num_frames for part in records for one in part)
    return _Whole(entries, observations, num_frames, stitches.losses)


def _videos_row(job: Job, size: tuple[int, int], num_frames: int) -> pa.Table:
    row = {
        "video_id": job.video_id,
        "source": job.source,
        "name": posixpath.basename(job.source.rstrip("/")),
        "recorded_at": job.recorded_at,
        "duration_s": job.duration_s,
        "num_frames": num_frames,
        "fps": job.fps,
        "width": size[0],
        "height": size[1],
        "container": job.container,
        "codec": job.codec,
        "size_bytes": job.fingerprint.size_bytes,
        "concepts": job.concepts,
        "pass_key": job.pass_key,
    }
    return pa.Table.from_pylist([row], schema=VIDEOS)


def _put(storage: Storage, job: Job, name: TableName, table: pa.Table) -> FileEntry:
    path = layout.pass_table(job.video_id, job.pass_key, name)
    return put_table(storage, path, name, table)


def _delete_leftovers(storage: Storage, manifest: VideoManifest) -> None:
    """Delete what no reader needs: states, files of parts, and passes that have no manifest."""
    folder = layout.video_folder(manifest.video_id)
    named = {entry.name for entry in manifest.files}
    has_manifest = cache(
        lambda key: storage.read(layout.manifest(manifest.video_id, key)) is not None
    )
    for info in storage.files(folder):
        match = _PASS.match(info.name)
        is_table = info.name.endswith(".parquet")
        if (
            _OF_CHUNKS.search(info.name)
            or (match and not has_manifest(match[1]))
            or (match and match[1] == manifest.pass_key and is_table and info.name not in named)
        ):
            storage.delete(f"{folder}/{info.name}")
