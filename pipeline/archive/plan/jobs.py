"""Jobs: what an index still lacks of a video."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from maskstream.pipeline.archive.format.records import Fingerprint, Record


class Job(Record):
    """A pass over a video that is to be done, or to be gone on with."""

    video_id: str
    pass_key: str
    url: str
    """The address that opens the video. May hold credentials: never written to the index."""
    source: str
    """The same without credentials."""
    fingerprint: Fingerprint
    concepts: list[str]
    first_object_id: int = 0
    is_first: bool = True
    """It is the first pass over the video, which writes the shots, too."""
    replaces: list[str] = Field(default_factory=list)
    """Passes over what the file held before it was changed. They go when this one is done."""
    recorded_at: AwareDatetime | None = None
    duration_s: float | None = None
    fps: float | None = None
    container: str | None = None
    codec: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all other jobs."""
        return self.video_id, self.pass_key
