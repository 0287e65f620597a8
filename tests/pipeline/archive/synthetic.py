"""Indexes that nothing was indexed for: random masklets, written as the format asks.

What searches see is as they would see it after a build: manifests, tables, concepts, chunks.
Masklets are boxes that wander about.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hotcoco import mask as coco_mask
from numpy.typing import NDArray

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import (
    ChunkRecord,
    ConceptRecord,
    FileEntry,
    Fingerprint,
    IndexHead,
    IndexSettings,
    VideoManifest,
    pass_key,
    video_id_of,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.summary import tracks_of
from maskstream.pipeline.archive.format.tables import (
    OBSERVATIONS,
    ROW_GROUP,
    SCHEMAS,
    SHOTS,
    SORTED_BY,
    VIDEOS,
    TableName,
)

SETTINGS = IndexSettings(checkpoint="0" * 64)
BEGAN = datetime(2026, 3, 1, 22, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Made:
    """How videos are made up."""

    concepts: tuple[str, ...] = ("dog", "red car", "person")
    num_masklets: int = 8
    """Of a video, shared out among the concepts at random."""
    max_frames: int = 40
    """Of a masklet."""
    num_frames: int = 120
    fps: float = 10.0
    width: int = 64
    height: int = 48
    missing: float = 0.2
    """Share of a masklet's frames on which it is hidden."""
    hours_apart: float = 1.7
    """From the begin of a video to the next one's; every seventh does not know when it began."""


def create(url: str, concepts: Sequence[str] = Made().concepts) -> Storage:
    """An index without videos."""
    storage = Storage(url)
    head = IndexHead(created_by="tests", checkpoint_name="none", settings=SETTINGS)
    storage.write(layout.HEAD, head.to_bytes())
    for text in concepts:
        add_concept(storage, text)
    return storage


def add_concept(storage: Storage, text: str, embedding: list[float] | None = None) -> None:
    record = ConceptRecord(text=text, embedding=embedding, checkpoint=SETTINGS.checkpoint)
    storage.write(layout.concept(text), record.to_bytes())


def add_videos(storage: Storage, numbers: Sequence[int], made: Made | None = None) -> list[str]:
    """Make up the videos with these numbers, each always the same; their ids."""
    return [add_video(storage, number, made or Made()) for number in numbers]


def add_video(
    storage: Storage,
    number: int,
    made: Made,
    *,
    first_object_id: int = 0,
    source: str | None = None,
    whole: bool = True,
    every_nth: int = 1,
) -> str:
    """Make up a pass over a video.

    Args:
        first_object_id: of its masklets; above 0 for a later pass over the same video.
        whole: False leaves the second of its two chunks and the manifest out.
        every_nth: of the frames of the file were looked at.
    """
    source = source or f"/archive/{number:06d}.mp4"
    video_id, fingerprint = video_id_of(source), Fingerprint(size_bytes=1000 + number)
    key = pass_key(SETTINGS, list(made.concepts), fingerprint)
    tables = tables_of(number, made, source, key, first_object_id, every_nth)
    seen = tables.pop("observations")
    files = []
    num_frames = made.num_frames * every_nth
    middle = num_frames // 2
    frames = seen["frame"].to_numpy()
    for chunk, rows in enumerate((frames < middle, frames >= middle)):
        path = layout.chunk_observations(video_id, key, 0, chunk)
        entry = write_table(storage, path, seen.filter(pa.array(rows)), "observations")
        record = ChunkRecord(
            pass_key=key,
            part=0,
            chunk=chunk,
            first_frame=chunk * middle,
            next_frame=num_frames if chunk else middle,
            num_frames=made.num_frames // 2 + (made.num_frames % 2 if chunk else 0),
            files=[entry],
            is_last=bool(chunk),
            source=source,
            recorded_at=_began(number, made),
            width=made.width,
            height=made.height,
        )
        storage.write(layout.chunk_record(video_id, key, 0, chunk), record.to_bytes())
        files.append(entry)
        if not whole:
            return video_id
    files += [
        write_table(storage, layout.pass_table(video_id, key, name), table, name)
        for name, table in tables.items()
    ]
    manifest = VideoManifest(
        video_id=video_id,
        pass_key=key,
        source=source,
        fingerprint=fingerprint,
        concepts=list(made.concepts),
        first_object_id=first_object_id,
        last_object_id=first_object_id + made.num_masklets - 1,
        files=files,
        num_frames=made.num_frames,
    )
    storage.write(layout.manifest(video_id, key), manifest.to_bytes())
    return video_id


def tables_of(
    number: int,
    made: Made,
    source: str,
    key: str,
    first_object_id: int = 0,
    every_nth: int = 1,
) -> dict[TableName, pa.Table]:
    """All rows of a pass over a video; see ``add_video``."""
    video_id, began = video_id_of(source), _began(number, made)
    seen = observations_of(video_id, number, made, first_object_id)
    if every_nth > 1:
        seen = _spread(seen, every_nth)
    return {
        "videos": _video_row(video_id, source, key, began, made),
        "shots": _shot_rows(video_id, made),
        "tracks": tracks_of(
            seen, video_id=video_id, width=made.width, height=made.height, recorded_at=began
        ),
        "observations": seen,
    }


def remove_video(storage: Storage, video_id: str) -> None:
    """As removing does it: manifests first."""
    for file in storage.files(layout.MANIFESTS):
        if file.name.startswith(video_id):
            storage.delete(f"{layout.MANIFESTS}/{file.name}")
    storage.delete_folder(layout.video_folder(video_id))


def write_table(storage: Storage, path: str, table: pa.Table, name: TableName) -> FileEntry:
    table = table.sort_by([(column, "ascending") for column in SORTED_BY[name]])
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=ROW_GROUP[name])
    content = buffer.getvalue()
    storage.write(path, content)
    return FileEntry(
        name=posixpath.basename(path),
        table=name,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        num_rows=table.num_rows,
    )


def observations_of(video_id: str, number: int, made: Made, first_object_id: int) -> pa.Table:
    """The rows of a video: each masklet starts somewhere, wanders, and is hidden now and then."""
    random = np.random.default_rng([number, first_object_id])
    concepts = random.integers(len(made.concepts), size=made.num_masklets)
    parts = [_masklet(random, made) for _ in range(made.num_masklets)]
    lengths = [len(part["frame"]) for part in parts]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    boxes = np.stack([columns[name] for name in ("x0", "y0", "x1", "y1")], axis=1)
    names = np.array(made.concepts, dtype=object)[np.repeat(concepts, lengths)]
    ids = np.repeat(np.arange(first_object_id, first_object_id + made.num_masklets), lengths)
    arrays = {
        "video_id": pa.array([video_id] * len(ids)),
        "concept": pa.array(names),
        "object_id": pa.array(ids, pa.int32()),
        "rle": pa.array(_codes(boxes, made), pa.binary()),
        **{name: pa.array(values).cast(OBSERVATIONS.field(name).type)
           for name, values in columns.items()},
    }  # fmt: skip
    return pa.table([arrays[name] for name in OBSERVATIONS.names], schema=OBSERVATIONS)


def _began(number: int, made: Made) -> datetime | None:
    return None if number % 7 == 6 else BEGAN + timedelta(hours=made.hours_apart * number)


def _spread(seen: pa.Table, every_nth: int) -> pa.Table:
    """The same on frames that lie so many apart."""
    for name in ("frame", "pts_s"):
        field = OBSERVATIONS.field(name)
        values = seen[name].to_numpy() * every_nth
        column = pa.array(values, field.type)
        seen = seen.set_column(OBSERVATIONS.get_field_index(name), field, column)
    return seen


def _masklet(random: np.random.Generator, made: Made) -> dict[str, NDArray[np.float64]]:
    length = int(random.integers(1, made.max_frames + 1))
    start = int(random.integers(0, made.num_frames - length + 1))
    shown = random.random(length) >= made.missing
    shown[0] = True
    frames = start + np.flatnonzero(shown)
    half = random.uniform(0.02, 0.15, size=2)
    steps = random.normal(random.normal(0, 0.01, size=2), 0.02, size=(len(frames), 2))
    centres = np.clip(random.uniform(0.2, 0.8, size=2) + steps.cumsum(axis=0), half, 1 - half)
    low, high = centres - half, centres + half
    return {
        "frame": frames,
        "pts_s": frames / made.fps,
        "score": np.clip(random.uniform(0.4, 0.9) + random.normal(0, 0.05, len(frames)), 0, 1),
        "x0": low[:, 0],
        "y0": low[:, 1],
        "x1": high[:, 0],
        "y1": high[:, 1],
        "area": np.full(len(frames), 4 * half.prod()) * random.uniform(0.8, 1, len(frames)),
        "x": centres[:, 0],
        "y": centres[:, 1],
    }


def _codes(boxes: NDArray[np.float64], made: Made) -> list[bytes]:
    """Run-length codes of the boxes."""
    size = np.array([made.width, made.height] * 2)
    corners = np.round(boxes * size)
    wanted = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    codes = coco_mask.fr_py_objects(wanted.tolist(), made.height, made.width)
    return [code["counts"] for code in codes]


def _video_row(
    video_id: str, source: str, key: str, began: datetime | None, made: Made
) -> pa.Table:
    row = {
        "video_id": video_id,
        "source": source,
        "name": posixpath.basename(source),
        "recorded_at": began,
        "duration_s": made.num_frames / made.fps,
        "num_frames": made.num_frames,
        "fps": made.fps,
        "width": made.width,
        "height": made.height,
        "container": "mp4",
        "codec": "h264",
        "size_bytes": 1000,
        "concepts": list(made.concepts),
        "pass_key": key,
    }
    return pa.Table.from_pylist([row], schema=VIDEOS)


def _shot_rows(video_id: str, made: Made) -> pa.Table:
    cut = made.num_frames // 3
    edges = [(0, cut - 1), (cut, made.num_frames - 1)]
    rows = [
        {
            "video_id": video_id,
            "shot": shot,
            "first_frame": first,
            "last_frame": last,
            "start_s": first / made.fps,
            "end_s": last / made.fps,
        }
        for shot, (first, last) in enumerate(edges)
    ]
    return pa.Table.from_pylist(rows, schema=SHOTS)


def read_all(storage: Storage, name: TableName) -> pa.Table:
    """All rows of a table of the whole passes that are not compacted, file by file."""
    tables = []
    for file in storage.files(layout.MANIFESTS):
        blob = storage.read(f"{layout.MANIFESTS}/{file.name}") or b""
        manifest = VideoManifest.from_bytes(blob, file.name)
        for entry in manifest.files:
            if entry.table == name:
                path = f"{layout.video_folder(manifest.video_id)}/{entry.name}"
                tables.append(pq.read_table(io.BytesIO(storage.read(path) or b"")))
    return pa.concat_tables([SCHEMAS[name].empty_table(), *tables])
