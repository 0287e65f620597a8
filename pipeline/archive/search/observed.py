"""What the observations of a hit must show, in SQL.

Tracks come first: only the observations of candidates are looked at.
"""

from __future__ import annotations

from datetime import datetime

from maskstream.pipeline.archive.search import regions
from maskstream.pipeline.archive.search.parameters import Parameters
from maskstream.pipeline.archive.search.query import Query, Region

_ORDERED = "OVER (PARTITION BY video_id, object_id ORDER BY frame)"


def crowds(query: Query, observations: str, parameters: Parameters) -> str:
    """The table ``crowds``: candidates that are among so many of their concept on one frame."""
    bounds = ((">=", query.min_at_once), ("<=", query.max_at_once))
    wanted = " AND ".join(
        f"n {sign} {parameters.add(bound)}" for sign, bound in bounds if bound is not None
    )
    return f"""counts AS (
  SELECT o.video_id, o.concept, o.frame, count(*) AS n FROM {observations} o
  WHERE (o.video_id, o.concept) IN (SELECT (video_id, concept) FROM candidates)
  GROUP BY ALL HAVING {wanted}
),
crowds AS (
  SELECT DISTINCT o.video_id, o.object_id
  FROM {observations} o JOIN candidates t USING (video_id, concept, object_id)
  JOIN counts USING (video_id, concept, frame)
  WHERE {_in_time(query, parameters)}
)"""


def movers(query: Query, observations: str, parameters: Parameters) -> str:
    """The table ``movers``: candidates that do in the region what is asked for."""
    region = query.region
    if region is None:
        raise ValueError("no region is asked for")
    inside = regions.is_inside(region.polygon, parameters)
    return f"""places AS (
  SELECT *, {inside} AS is_in FROM (
    SELECT o.video_id, o.object_id, o.frame, o.pts_s, o.x::DOUBLE AS x, o.y::DOUBLE AS y,
      {_in_time(query, parameters)} AS in_time
    FROM {observations} o JOIN candidates t USING (video_id, concept, object_id)
  )
),
{_steps(region)},
movers AS (
  SELECT video_id, object_id FROM steps GROUP BY video_id, object_id
  HAVING {regions.condition(region, parameters)}
)"""


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return round(moment.timestamp() * 1e6)


def _steps(region: Region) -> str:
    """The table ``steps``: what the region's condition needs to know of each place."""
    if region.relation in ("entered", "left"):
        return f"steps AS (SELECT *, lag(is_in) {_ORDERED} AS was_in FROM places)"
    if region.relation == "stayed" and region.for_s is not None:
        return f"""steps AS (
  SELECT video_id, object_id, max(pts_s) - min(pts_s) AS stretch_s FROM (
    SELECT *, sum((NOT (is_in AND in_time))::INT) {_ORDERED} AS stretch FROM places
  ) WHERE is_in AND in_time GROUP BY video_id, object_id, stretch
)"""
    return "steps AS (SELECT * FROM places)"


def _in_time(query: Query, parameters: Parameters) -> str:
    """Whether an observation ``o`` of a candidate ``t`` lies in the span that is asked for."""
    moment = "epoch_us(t.started_at) + (o.pts_s - t.start_s) * 1e6"
    bounds = (
        ("o.pts_s", ">=", query.after_s),
        ("o.pts_s", "<=", query.before_s),
        (moment, ">=", None if query.since is None else micros(query.since)),
        (moment, "<=", None if query.until is None else micros(query.until)),
    )
    conditions = [
        f"{value} {sign} {parameters.add(bound)}"
        for value, sign, bound in bounds
        if bound is not None
    ]
    return f"({' AND '.join(conditions) or 'TRUE'})"
