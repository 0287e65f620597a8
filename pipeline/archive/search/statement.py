"""A query as one SQL statement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

from maskstream.pipeline.archive.search import observed, regions
from maskstream.pipeline.archive.search.parameters import Parameters
from maskstream.pipeline.archive.search.query import Companion, Query

Similarities = Mapping[str, float]
"""Concepts of the index, and how near to what was asked for each is."""

TRACK_COLUMNS = (
    "video_id",
    "concept",
    "object_id",
    "first_frame",
    "last_frame",
    "start_s",
    "end_s",
    "duration_s",
    "started_at",
    "num_observations",
    "mean_score",
    "best_score",
    "mean_area",
    "min_area",
    "max_area",
    "mean_speed",
    "max_speed",
    "move_x",
    "move_y",
    "best_frame",
    "best_s",
    "x0",
    "y0",
    "x1",
    "y1",
)

_ORDER_KEYS = {
    "best_score": "t.best_score::DOUBLE",
    "mean_score": "t.mean_score::DOUBLE",
    "similarity": "similarity",
    "duration": "t.duration_s",
    "area": "t.mean_area::DOUBLE",
    "speed": "t.mean_speed::DOUBLE",
    "start": "t.start_s",
    # Unknown moments come last, whichever way.
    "recorded": "coalesce(epoch_us(t.started_at), {last}::BIGINT)",
}
_LATEST = 2**62
# Moments as microseconds since 1970: their own type would ask for one more package.
_SHOWN = {"started_at": "epoch_us(t.started_at) AS started_at"}
_DAY = 86_400_000_000
_DIRECTIONS = {"right": 0.0, "up": 90.0, "left": 180.0, "down": 270.0}


@dataclass(frozen=True, slots=True)
class Position:
    """After which hit a page begins: its key in the order, and what tells it from its equals."""

    key: float
    video_id: str
    object_id: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """A query whose words are concepts of the index.

    Attributes:
        concepts: what hits may be; None: anything.
        beside, without: of each companion, the concepts that it may be.
    """

    query: Query
    concepts: Similarities | None
    beside: tuple[Similarities, ...] = ()
    without: tuple[Similarities, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """Text and values."""

    text: str
    values: dict[str, Any]


def page_statement(
    resolved: Resolved, observations: str, limit: int, after: Position | None
) -> Statement:
    """The hits of a page, in order.

    Its columns: ``TRACK_COLUMNS``, ``similarity``, ``sort_key``, and of the video ``source``,
    ``name``, ``width`` and ``height``.

    Args:
        observations: the table or view to read observations from.
        limit: at most so many.
        after: the last hit of the page before.
    """
    builder = _Builder(resolved, observations)
    columns = ", ".join(_SHOWN.get(name, f"t.{name}") for name in TRACK_COLUMNS)
    key = _ORDER_KEYS[resolved.query.order].format(
        last=_LATEST if resolved.query.is_ascending else -_LATEST
    )
    way = "ASC" if resolved.query.is_ascending else "DESC"
    text = f"""
WITH {builder.chosen()},
page AS (
  SELECT {columns}, similarity, {key} AS sort_key FROM chosen t
  WHERE {builder.is_after(after)}
  ORDER BY sort_key {way}, video_id, object_id
  LIMIT {builder.parameters.add(limit)}
)
SELECT page.*, v.source, v.name, v.width, v.height
FROM page LEFT JOIN (
  SELECT video_id, any_value(source) AS source, any_value(name) AS name,
    any_value(width) AS width, any_value(height) AS height
  FROM video_passes WHERE video_id IN (SELECT video_id FROM page) GROUP BY video_id
) v USING (video_id)
ORDER BY sort_key {way}, video_id, object_id"""
    return Statement(text, builder.parameters.values)


def count_statement(resolved: Resolved, observations: str) -> Statement:
    """How many hits there are."""
    builder = _Builder(resolved, observations)
    text = f"WITH {builder.chosen()} SELECT count(*) FROM chosen"
    return Statement(text, builder.parameters.values)


def videos_statement(resolved: Resolved) -> Statement:
    """The videos that hold all hits, by their tracks alone."""
    builder = _Builder(resolved, "")
    text = f"WITH {builder.candidates()} SELECT DISTINCT video_id FROM candidates"
    return Statement(text, builder.parameters.values)


class _Builder:
    """Writes the parts of a statement. ``t`` is a track, ``o`` an observation in all of them."""

    def __init__(self, resolved: Resolved, observations: str) -> None:
        self._resolved = resolved
        self._query = resolved.query
        self._observations = observations
        self.parameters = Parameters()

    def chosen(self) -> str:
        """The tables ``candidates``, what it needs of observations, and ``chosen``: all hits."""
        parts, conditions = [self.candidates()], ["TRUE"]
        if self._query.counts_at_once:
            parts.append(observed.crowds(self._query, self._observations, self.parameters))
            conditions.append("(video_id, object_id) IN (SELECT * FROM crowds)")
        if self._query.region is not None:
            parts.append(observed.movers(self._query, self._observations, self.parameters))
            conditions.append("(video_id, object_id) IN (SELECT * FROM movers)")
        parts.append(f"chosen AS (SELECT * FROM candidates WHERE {' AND '.join(conditions)})")
        return ",\n".join(parts)

    def candidates(self) -> str:
        """The tracks that may be hits; without questions to observations, those that are."""
        conditions = [
            *self._of_concept(),
            *self._of_video(),
            *self._of_time(),
            *self._of_day(),
            *self._of_size(),
            *self._of_motion(),
            *self._of_company(),
        ]
        if self._query.region is not None:
            conditions.append(regions.may_touch(self._query.region, self.parameters))
        joins = "JOIN shapes s USING (video_id)" if self._needs_shape else ""
        text = f"""candidates AS (
  SELECT t.*, {self._similarity()} AS similarity FROM tracks t {joins}
  WHERE {" AND ".join(conditions) or "TRUE"}
)"""
        return f"{self._shapes()},\n{text}" if self._needs_shape else text

    def is_after(self, position: Position | None) -> str:
        """What holds of the hits that come behind a position in the order."""
        if position is None:
            return "TRUE"
        key, video, number = (
            self.parameters.add(value)
            for value in (position.key, position.video_id, position.object_id)
        )
        beyond = ">" if self._query.is_ascending else "<"
        return (
            f"(sort_key {beyond} {key} OR (sort_key = {key} AND (t.video_id > {video} "
            f"OR (t.video_id = {video} AND t.object_id > {number}))))"
        )

    def _similarity(self) -> str:
        concepts = self._resolved.concepts
        if concepts is None or set(concepts.values()) <= {1.0}:
            return "1.0::DOUBLE"
        cases = " ".join(
            f"WHEN {self.parameters.add(name)} THEN {self.parameters.add(value)}"
            for name, value in concepts.items()
        )
        return f"(CASE t.concept {cases} END)::DOUBLE"

    def _of_concept(self) -> list[str]:
        concepts = self._resolved.concepts
        return [] if concepts is None else [f"t.concept IN ({self.parameters.add_all(concepts)})"]

    def _of_video(self) -> list[str]:
        if not self._query.videos:
            return []
        names = [self.parameters.add(name) for name in self._query.videos]
        wanted = " OR ".join(
            f"video_id = {name} OR name GLOB {name} OR source GLOB {name}" for name in names
        )
        return [f"t.video_id IN (SELECT video_id FROM video_passes WHERE {wanted})"]

    def _of_time(self) -> list[str]:
        query, add = self._query, self.parameters.add
        conditions = []
        if query.after_s is not None:
            conditions.append(f"t.end_s >= {add(query.after_s)}")
        if query.before_s is not None:
            conditions.append(f"t.start_s <= {add(query.before_s)}")
        if query.since is not None:
            since = add(observed.micros(query.since))
            conditions.append(f"epoch_us(t.started_at) + t.duration_s * 1e6 >= {since}")
        if query.until is not None:
            conditions.append(f"epoch_us(t.started_at) <= {add(observed.micros(query.until))}")
        return conditions

    def _of_day(self) -> list[str]:
        """In sight between two times of a day: it starts within, or is there at the next begin."""
        query = self._query
        if query.daily_from is None or query.daily_until is None:
            return []
        begin, end = _micros_of_day(query.daily_from), _micros_of_day(query.daily_until)
        zone, first = self.parameters.add(query.time_zone), self.parameters.add(begin)
        length = self.parameters.add((end - begin) % _DAY)
        since_begin = f"((epoch_us(timezone({zone}, t.started_at)) - {first}) % {_DAY} + {_DAY})"
        since_begin = f"({since_begin} % {_DAY})"
        return [f"({since_begin} <= {length} OR {since_begin} + t.duration_s * 1e6 >= {_DAY})"]

    def _of_size(self) -> list[str]:
        query = self._query
        bounds = (
            ("t.duration_s", query.min_duration_s, query.max_duration_s),
            ("t.mean_score::DOUBLE", query.min_score, None),
            ("t.best_score::DOUBLE", query.min_best_score, None),
            ("t.mean_area::DOUBLE", query.min_area, query.max_area),
            ("t.mean_speed::DOUBLE", query.min_speed, query.max_speed),
        )
        return [
            f"{column} {sign} {self.parameters.add(bound)}"
            for column, least, most in bounds
            for sign, bound in ((">=", least), ("<=", most))
            if bound is not None
        ]

    @property
    def _needs_shape(self) -> bool:
        return self._query.direction is not None or self._query.min_move is not None

    def _shapes(self) -> str:
        return (
            "shapes AS (SELECT video_id, any_value(width)::DOUBLE AS width, "
            "any_value(height)::DOUBLE AS height FROM video_passes GROUP BY video_id)"
        )

    def _of_motion(self) -> list[str]:
        """What its way from the first centre to the last must be, measured in pixels."""
        query, add = self._query, self.parameters.add
        right, up = "(t.move_x::DOUBLE * s.width)", "(-t.move_y::DOUBLE * s.height)"
        length = f"sqrt({right} * {right} + {up} * {up})"
        conditions = []
        if query.min_move is not None:
            diagonal = "sqrt(s.width * s.width + s.height * s.height)"
            conditions.append(f"{length} >= {add(query.min_move)} * {diagonal}")
        if query.direction is not None:
            degrees = (
                _DIRECTIONS[query.direction]
                if isinstance(query.direction, str)
                else query.direction
            )
            ahead = (
                f"{right} * {add(math.cos(math.radians(degrees)))} + "
                f"{up} * {add(math.sin(math.radians(degrees)))}"
            )
            least = add(math.cos(math.radians(query.within_deg)))
            conditions.append(f"{length} > 0 AND {ahead} >= {length} * {least}")
        return conditions

    def _of_company(self) -> list[str]:
        resolved, query = self._resolved, self._query
        conditions = [
            f"EXISTS ({self._companion(companion, concepts)})"
            for companion, concepts in zip(query.beside, resolved.beside, strict=True)
        ]
        for companion, concepts in zip(query.without, resolved.without, strict=True):
            conditions.append(f"NOT EXISTS ({self._companion(companion, concepts)})")
            conditions += [
                f"t.video_id IN (SELECT video_id FROM looked_for WHERE concept = "
                f"{self.parameters.add(concept)})"
                for concept in concepts
            ]
        return conditions

    def _companion(self, companion: Companion, concepts: Similarities) -> str:
        add = self.parameters.add
        conditions = [
            "c.video_id = t.video_id",
            "c.object_id <> t.object_id",
            f"c.concept IN ({self.parameters.add_all(concepts)})",
        ]
        if companion.within_s is not None:
            gap = add(companion.within_s)
            conditions += [f"c.start_s <= t.end_s + {gap}", f"c.end_s + {gap} >= t.start_s"]
        bounds = (
            ("c.mean_score::DOUBLE", companion.min_score),
            ("c.duration_s", companion.min_duration_s),
            ("c.mean_area::DOUBLE", companion.min_area),
        )
        conditions += [f"{column} >= {add(least)}" for column, least in bounds if least is not None]
        return f"SELECT 1 FROM tracks c WHERE {' AND '.join(conditions)}"


def _micros_of_day(moment: time) -> int:
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    return seconds * 1_000_000 + moment.microsecond
