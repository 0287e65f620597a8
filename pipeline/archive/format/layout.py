"""Where everything lies in an index.

::

    INDEX/
      index.json                            IndexHead
      concepts/<digest>.json                ConceptRecord
      manifests/<video_id>-<pass>.json      VideoManifest: the pass is whole
      videos/<video_id>/
        <pass>-videos.parquet               one row
        <pass>-shots.parquet
        <pass>-tracks.parquet
        <pass>-p0-c0003.json                ChunkRecord: the chunk is whole
        <pass>-p0-c0003-observations.parquet
        <pass>-p0-c0003-state.bin           what the next chunk goes on from; goes with the manifest
        <pass>-p1-shots.parquet             of a part; these and the next ones of long videos only
        <pass>-p1-c0003-stitched.parquet    observations with the ids of the whole video
      failures/<video_id>-<pass>.json       FailureRecord
      attempts/<video_id>-<pass>-p0/        notes that a chunk was begun; see indexing/attempts.py
      catalogue-<n>.json                    CatalogueRecord: the newest that can be read holds
      catalogue/<n>/passes.parquet          which passes the compacted files hold
      catalogue/<n>/<table>-<m>.parquet     compacted rows of many passes
      lock.json                             who builds now
      compact-lock.json                     who compacts now

One listing of ``manifests/`` says what the index holds: a reader need not look into the folders of
thousands of videos. A pass without a manifest is gone, also where a catalogue still holds its rows.
A pass that a catalogue holds may have lost its own tables: its manifest stays and counts as before.

Nothing is ever renamed. A file's name follows from what it holds, so writing it again changes
nothing. A record is written after the files that it names. What no record names is as good as not
there.
"""

from __future__ import annotations

import hashlib
import re

from maskstream.pipeline.archive.format.tables import TableName

HEAD = "index.json"
LOCK = "lock.json"
COMPACT_LOCK = "compact-lock.json"
MANIFESTS = "manifests"
VIDEOS = "videos"
CONCEPTS = "concepts"
FAILURES = "failures"
ATTEMPTS = "attempts"
CATALOGUE = "catalogue"

_PASS_FILE = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.json")
_CHUNK_RECORD = re.compile(r"([0-9a-f]{16})-p\d+-c\d+\.json")
_CATALOGUE_HEAD = re.compile(rf"{CATALOGUE}-(\d{{8,}})\.json")


def video_folder(video_id: str) -> str:
    """The folder of a video, relative to the index, as all paths here."""
    return f"{VIDEOS}/{video_id}"


def manifest(video_id: str, pass_key: str) -> str:
    """The manifest of a pass."""
    return f"{MANIFESTS}/{video_id}-{pass_key}.json"


def pass_of(name: str) -> tuple[str, str] | None:
    """The video and the pass that a file of ``manifests/`` or ``failures/`` is about.

    None if it is no such file.
    """
    match = _PASS_FILE.fullmatch(name)
    return None if match is None else (match[1], match[2])


def pass_table(video_id: str, pass_key: str, table: TableName) -> str:
    """A table of a whole pass: ``videos``, ``shots`` or ``tracks``."""
    return f"{VIDEOS}/{video_id}/{pass_key}-{table}.parquet"


def chunk_record(video_id: str, pass_key: str, part: int, chunk: int) -> str:
    """The record of a chunk."""
    return f"{VIDEOS}/{video_id}/{_chunk(pass_key, part, chunk)}.json"


def chunk_of(name: str) -> str | None:
    """The pass that a chunk's record is of, by the record's name; None if it is no such file."""
    match = _CHUNK_RECORD.fullmatch(name)
    return None if match is None else match[1]


def chunk_observations(video_id: str, pass_key: str, part: int, chunk: int) -> str:
    """The observations of a chunk."""
    return f"{VIDEOS}/{video_id}/{_chunk(pass_key, part, chunk)}-observations.parquet"


def chunk_state(video_id: str, pass_key: str, part: int, chunk: int) -> str:
    """The state at the end of a chunk."""
    return f"{VIDEOS}/{video_id}/{_chunk(pass_key, part, chunk)}-state.bin"


def part_shots(video_id: str, pass_key: str, part: int) -> str:
    """The shots of a part of a long video."""
    return f"{VIDEOS}/{video_id}/{pass_key}-p{part}-shots.parquet"


def stitched_observations(video_id: str, pass_key: str, part: int, chunk: int) -> str:
    """The observations of a chunk of a long video, with the ids of the whole video."""
    return f"{VIDEOS}/{video_id}/{_chunk(pass_key, part, chunk)}-stitched.parquet"


def failure(video_id: str, pass_key: str) -> str:
    """The record of a failure."""
    return f"{FAILURES}/{video_id}-{pass_key}.json"


def concept(text: str) -> str:
    """The record of a concept."""
    return f"{CONCEPTS}/{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def catalogue_head(number: int) -> str:
    """The record that names the files of a catalogue."""
    return f"{CATALOGUE}-{number:08d}.json"


def catalogue_number(name: str) -> int | None:
    """The number of a catalogue by the name of its record; None if it is no such file."""
    match = _CATALOGUE_HEAD.fullmatch(name)
    return None if match is None else int(match[1])


def catalogue_passes(number: int) -> str:
    """The table of the passes that a catalogue holds."""
    return f"{CATALOGUE}/{number:08d}/passes.parquet"


def catalogue_folder(number: int) -> str:
    """The folder of the compacted files that come with a catalogue."""
    return f"{CATALOGUE}/{number:08d}"


def catalogue_table(number: int, table: TableName, file_number: int) -> str:
    """A compacted file of a table."""
    return f"{CATALOGUE}/{number:08d}/{table}-{file_number:04d}.parquet"


def _chunk(pass_key: str, part: int, chunk: int) -> str:
    return f"{pass_key}-p{part}-c{chunk:04d}"
