"""The JSON records of an index. Each is written after what it names: where it is, all is there."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from maskstream.core.errors import IndexFormatError
from maskstream.pipeline.archive.format.tables import FORMAT_VERSION, TableName

_KEY_DIGITS = 16


class Record(BaseModel):
    """Base of all records: unknown fields are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_bytes(self) -> bytes:
        """The record as JSON, the same bytes for the same content."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, blob: bytes, where: str) -> Self:
        """Read a record.

        Args:
            blob: its bytes.
            where: what it was read from, for the error.

        Raises:
            IndexFormatError: it is no such record.
        """
        try:
            return cls.model_validate_json(blob)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(part) for part in fault["loc"]) or "the whole"
            raise IndexFormatError(f"{where}: {place}: {fault['msg']}") from error


class Sampling(Record):
    """Which frames of a video are looked at. At most one of the first three is given."""

    fps: float | None = Field(default=None, gt=0)
    """The first frame at or after each tick of so many a second."""
    every_nth: int | None = Field(default=None, ge=1)
    keyframes: bool = False
    start_s: float | None = Field(default=None, ge=0)
    end_s: float | None = Field(default=None, gt=0)
    """The first moment that is not looked at."""


class IndexSettings(Record):
    """All that decides the rows of an index, but the concepts and the videos.

    Two runs with equal settings over equal files give equal rows.
    """

    checkpoint: str
    """SHA-256 of the checkpoint's weights and configuration, hexadecimal."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """None: the checkpoint's own."""
    sampling: Sampling = Sampling()
    detect_shots: bool = True
    reset_at_cuts: bool = False
    chunk_s: float = Field(default=30.0, gt=0)
    """Seconds of video that a chunk holds at least. Decides the files, not the rows in them."""
    split_longer_than_s: float | None = Field(default=None, gt=0)
    overlap_s: float = Field(default=2.0, gt=0)


class IndexHead(Record):
    """``index.json``: what the index is. Written once, when the index is made."""

    format_version: int = FORMAT_VERSION
    created_by: str
    checkpoint_name: str
    settings: IndexSettings


class Fingerprint(Record):
    """What tells one content of a source from another, without reading all of it."""

    size_bytes: int | None = None
    modified_s: float | None = None
    etag: str | None = None
    """What an object store calls the content."""
    digest: str | None = None
    """SHA-256 of the first and the last 64 KiB, hexadecimal; None where it was not read."""


class FileEntry(Record):
    """A file of a video's folder."""

    name: str
    table: TableName | None
    """None: the file is no table."""
    size_bytes: int
    sha256: str
    num_rows: int = 0


class ChunkRecord(Record):
    """A chunk of a pass is done: its rows are in its files, complete."""

    pass_key: str
    part: int
    """Number of the part of the video, 0 unless long files are split."""
    chunk: int
    """Number of the chunk in its part, from 0."""
    first_frame: int
    next_frame: int
    """Frames from ``first_frame`` to before this one were looked at. Results that were held back
    come with a later chunk."""
    num_frames: int
    """How many of these were looked at; sampling leaves some out."""
    files: list[FileEntry]
    is_last: bool
    """The part ends with this chunk."""
    source: str = ""
    """The address that opens the video, without credentials, for readers of unfinished videos."""
    recorded_at: AwareDatetime | None = None
    """When the recording began; see the table of videos."""
    width: int = 0
    height: int = 0
    """Displayed size in pixels."""
    concepts: list[str] = Field(default_factory=list)
    """What the pass looks for."""


class VideoManifest(Record):
    """A pass over a video is done. Readers take the union of a video's manifests.

    A *pass* looks at a video for some concepts. The first pass of a video looks for all concepts of
    the index; a concept that is added later is a pass of its own, and so leaves all files as they
    are.
    """

    video_id: str
    pass_key: str
    source: str
    """The address that opens the video, without credentials."""
    fingerprint: Fingerprint
    concepts: list[str]
    first_object_id: int = 0
    """Objects of this pass have ids from here on, so that ids of passes never meet."""
    last_object_id: int = -1
    files: list[FileEntry]
    """The pass's rows: ``videos``, ``shots``, ``tracks`` and one or more of ``observations``."""
    num_frames: int
    losses: list[str] = Field(default_factory=list)
    """What stitching could not join, in words."""
    code_version: str = ""
    """Which version of maskstream made it; says nothing about whether to do it again."""


class ConceptRecord(Record):
    """A concept that the index was, or is being, built for."""

    text: str
    embedding: list[float] | None = None
    """Of unit length, from the checkpoint's text encoder; None where there is none. Only embeddings
    of one checkpoint can be compared."""
    checkpoint: str
    """As in ``IndexSettings``."""


class SupersededFile(Record):
    """A file that no reader who opens the index now needs. Who opened it before still may."""

    path: str
    """Relative to the index."""
    since: AwareDatetime


class CatalogueRecord(Record):
    """The compacted tables: rows of many passes, sorted, in few files.

    A catalogue holds all that the one before it held, but for what was removed since.
    """

    number: int
    files: list[FileEntry]
    """Names are paths relative to the index. Files of older catalogues may be among them."""
    passes: FileEntry
    """The table of the passes that ``files`` hold; see ``PASSES``."""
    superseded: list[SupersededFile] = Field(default_factory=list)
    """What compacting deletes once readers have had time to go on to this catalogue."""


class FailureRecord(Record):
    """A source that could not be indexed."""

    video_id: str
    pass_key: str
    source: str
    stage: Literal["open", "decode", "index", "died"]
    reason: str
    attempts: int
    at: str
    """Moment in UTC, ISO 8601."""


def pass_key(settings: IndexSettings, concepts: list[str], fingerprint: Fingerprint) -> str:
    """The name of a pass: what is done again if, and only if, one of these changes.

    Args:
        settings: of the index.
        concepts: what the pass looks for, in order.
        fingerprint: of the source.

    Returns:
        16 hexadecimal digits.
    """
    content = {
        "format": FORMAT_VERSION,
        "settings": settings.model_dump(mode="json"),
        "concepts": concepts,
        # A copy with another date is the same video.
        "fingerprint": fingerprint.model_dump(mode="json", exclude={"modified_s"}),
    }
    return _digest(json.dumps(content, sort_keys=True))


def video_id_of(source: str) -> str:
    """The id of the video at an address: 16 hexadecimal digits, always the same."""
    return _digest(source)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
