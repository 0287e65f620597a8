"""What can be asked of an index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import time
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from maskstream.core.errors import RequestError
from maskstream.pipeline.api.faults import bounded, sentence

MAX_COMPANIONS = 16
MAX_CORNERS = 256
MAX_LIMIT = 100_000

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Corner = tuple[Seconds, Seconds]
Direction = Literal["left", "right", "up", "down"]
Order = Literal[
    "best_score", "mean_score", "similarity", "duration", "area", "speed", "start", "recorded"
]

_ASCENDING = frozenset({"start", "recorded"})


class _Part(BaseModel):
    """Unknown fields are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(_Part):
    """A polygon of the picture, and what the centre of a masklet's mask does there.

    What happens between two observations of a masklet is not known: it has *entered* when it was
    outside on the one and is inside on the next.
    """

    polygon: tuple[Corner, ...] = Field(min_length=3, max_length=MAX_CORNERS)
    """Corners (x, y) in fractions of the displayed frame, in order; the last joins the first. Where
    edges cross, what they enclose twice is outside."""
    relation: Literal["in", "entered", "left", "stayed"] = "in"
    """``in``: on one frame at least. ``stayed``: on all its frames, or for ``for_s``."""
    for_s: Positive | None = None
    """With ``stayed``: for so many seconds at a stretch, without a frame outside."""


class Companion(_Part):
    """Another masklet of the same video, before, during or after the hit."""

    concept: Word
    within_s: Positive | None = 0.0
    """At most so many seconds lie between the two. 0: they overlap in time. None: anywhere in the
    video."""
    min_score: Share | None = None
    """Of its mean score; surer ones only."""
    min_duration_s: Positive | None = None
    min_area: Share | None = None


class Query(_Part):
    """What a hit must be. A hit is a masklet: one object, from its first frame to its last.

    All that is given must hold. Fields are as in the table of tracks: times ``*_s`` in seconds of
    the video's own clock, areas in fractions of the frame's area, speeds in diagonals a second.
    """

    concept: Word | None = None
    """None: all that the index was built for."""
    near: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Take concepts with a text of at least this similarity, too. None: this very text alone,
    whatever its case."""
    videos: tuple[Word, ...] = Field(default=(), max_length=1000)
    """In these only: ids, or patterns such as ``*/yard-?.mp4`` of names or addresses."""

    after_s: Seconds | None = None
    before_s: Seconds | None = None
    """In sight at some moment from ``after_s`` to ``before_s``. What is asked of single frames, as
    of a region, must be so within that span."""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    """The same in the time of the world. Videos whose begin is unknown have no hits."""
    daily_from: time | None = None
    daily_until: time | None = None
    """In sight between these times of a day; from 22:00 until 06:00 is the night."""
    time_zone: str = "UTC"
    """Of ``daily_from`` and ``daily_until``, such as ``Europe/Vienna``."""

    min_duration_s: Positive | None = None
    max_duration_s: Positive | None = None
    min_score: Share | None = None
    """Of the mean score."""
    min_best_score: Share | None = None
    min_area: Share | None = None
    max_area: Share | None = None
    """Of the mean area."""
    min_speed: Positive | None = None
    max_speed: Positive | None = None
    """Of the mean speed."""
    direction: Direction | Annotated[float, Field(ge=-360, le=360)] | None = None
    """Where it went, from its first centre to its last: a word, or degrees, 0 to the right and 90
    up."""
    within_deg: Annotated[float, Field(gt=0, le=180)] = 45.0
    """How far from ``direction`` that may be, to either side."""
    min_move: Positive | None = None
    """How far it went at least, in diagonals."""

    min_at_once: Annotated[int, Field(ge=1)] | None = None
    max_at_once: Annotated[int, Field(ge=1)] | None = None
    """On one of its frames there are so many masklets of its concept, itself included."""
    region: Region | None = None
    beside: tuple[Companion, ...] = Field(default=(), max_length=MAX_COMPANIONS)
    """All of these are there."""
    without: tuple[Companion, ...] = Field(default=(), max_length=MAX_COMPANIONS)
    """None of these is there. Only in videos where they were looked for."""

    order: Order = "best_score"
    ascending: bool | None = None
    """None: first what is best, longest, largest, fastest; or earliest."""

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """Check a query.

        Raises:
            RequestError: it is refused; ``faults`` names everything that is wrong.
        """
        faults: list[str] = []
        try:
            query = cls.model_validate(dict(given))
        except ValidationError as error:
            items = error.errors(include_url=False)
            faults = [sentence(item, cls.model_fields) for item in items]
            bad = {item["loc"][0] for item in items}
            sound = {
                key: value
                for key, value in given.items()
                if key in cls.model_fields and key not in bad
            }
            query = cls.model_validate(sound)
        faults += query.faults()
        if faults:
            raise RequestError(bounded(faults))
        return query

    def faults(self) -> list[str]:
        """What is wrong with the fields taken together."""
        faults = [
            f"{low} is larger than {high}"
            for low, high in _RANGES
            if (least := getattr(self, low)) is not None
            and (most := getattr(self, high)) is not None
            and least > most
        ]
        if self.near is not None and self.concept is None:
            faults.append("near is given without concept")
        if (self.daily_from is None) != (self.daily_until is None):
            faults.append("daily_from and daily_until go together")
        if any(one is not None and one.tzinfo for one in (self.daily_from, self.daily_until)):
            faults.append("daily_from and daily_until have no time zone of their own: time_zone")
        if not _is_time_zone(self.time_zone):
            faults.append(f"time_zone: there is no {self.time_zone[:60]!r}")
        region = self.region
        if region is not None and region.for_s is not None and region.relation != "stayed":
            faults.append("region.for_s goes with the relation 'stayed' only")
        if self.order == "similarity" and self.concept is None:
            faults.append("the order 'similarity' needs a concept")
        return faults

    @property
    def is_ascending(self) -> bool:
        """Whether the smallest come first."""
        return self.order in _ASCENDING if self.ascending is None else self.ascending

    @property
    def needs_observations(self) -> bool:
        """Whether the table of tracks alone cannot say."""
        return self.region is not None or self.counts_at_once

    @property
    def counts_at_once(self) -> bool:
        """Whether it is asked how many there are at once."""
        return self.min_at_once is not None or self.max_at_once is not None

    def digest(self) -> str:
        """What tells this query from others, for cursors."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


ORDERS: tuple[str, ...] = get_args(Order)

_RANGES = (
    ("after_s", "before_s"),
    ("since", "until"),
    ("min_duration_s", "max_duration_s"),
    ("min_area", "max_area"),
    ("min_speed", "max_speed"),
    ("min_at_once", "max_at_once"),
)


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name at all; the name of a folder
        return False
    return True
