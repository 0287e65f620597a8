"""Jobs: what an index still lacks of a video."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from maskstream.pipeline.archive.format.records import Fingerprint, Record

JobKey = tuple[str, str, int]
"""Video, pass and part."""


class Span(Record):
    """A span of time of a video, in seconds: from its first moment to before its last."""

    start_s: float | None = None
    """None: from the beginning."""
    end_s: float | None = None
    """None: to the end."""

    def holds(self, time_s: float) -> bool:
        """Whether a moment lies in it."""
        return not self.is_before(time_s) and not self.is_past(time_s)

    def is_before(self, time_s: float) -> bool:
        """Whether a moment comes before it."""
        return self.start_s is not None and time_s < self.start_s

    def is_past(self, time_s: float) -> bool:
        """Whether a moment comes after it."""
        return self.end_s is not None and time_s >= self.end_s


class Job(Record):
    """A pass over a video, or over a part of a long one, that is to be done or gone on with."""

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
    part: int = 0
    seams: list[float] = Field(default_factory=list)
    """Of a long video: the times at which a part begins, but the first."""
    overlap_s: float = 0.0
    """How long two parts look at the same frames, from a seam on."""
    replaces: list[str] = Field(default_factory=list)
    """Passes over what the file held before it was changed. They go when this one is done."""
    recorded_at: AwareDatetime | None = None
    duration_s: float | None = None
    fps: float | None = None
    container: str | None = None
    codec: str | None = None

    @property
    def key(self) -> JobKey:
        """What tells it from all other jobs."""
        return self.video_id, self.pass_key, self.part

    @property
    def num_parts(self) -> int:
        """How many parts the video has."""
        return len(self.seams) + 1

    @property
    def watched(self) -> Span:
        """What the part looks at. It overlaps with that of the next part."""
        return self._span(0.0, self.overlap_s)

    @property
    def owned(self) -> Span:
        """What the part answers for: every frame belongs to one part."""
        return self._span(self.overlap_s / 2, self.overlap_s / 2)

    def _span(self, later_start_s: float, later_end_s: float) -> Span:
        first, last = self.part == 0, self.part == len(self.seams)
        return Span(
            start_s=None if first else self.seams[self.part - 1] + later_start_s,
            end_s=None if last else self.seams[self.part] + later_end_s,
        )

    def parts(self) -> list[Job]:
        """The jobs of all parts of the video."""
        return [self.model_copy(update={"part": part}) for part in range(self.num_parts)]


def seams_of(start_s: float, duration_s: float | None, longest_s: float) -> list[float]:
    """Where a video is cut into parts of one length.

    Args:
        start_s: time of its first frame.
        duration_s: None if it does not say how long it is.
        longest_s: a part is not much longer than this.

    Returns:
        The times at which parts begin, but the first; none if the video is short.
    """
    num_parts = round((duration_s or 0.0) / longest_s)
    return [start_s + part * (duration_s or 0.0) / num_parts for part in range(1, num_parts)]
