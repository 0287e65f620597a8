"""Which masklets enter, leave or stay in a polygon, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from maskstream.pipeline.archive.search.parameters import Parameters
from maskstream.pipeline.archive.search.query import Corner, Region


def may_touch(region: Region, parameters: Parameters) -> str:
    """A condition on a track ``t``, without which its centre never is in the polygon.

    A mask's centre of mass lies in the box around it, so in the box around all of them.
    """
    xs, ys = ([corner[axis] for corner in region.polygon] for axis in (0, 1))
    left, right, top, bottom = (
        parameters.add(value) for value in (min(xs), max(xs), min(ys), max(ys))
    )
    return f"t.x1 >= {left} AND t.x0 <= {right} AND t.y1 >= {top} AND t.y0 <= {bottom}"


def is_inside(polygon: Sequence[Corner], parameters: Parameters) -> str:
    """Whether the centre of an observation ``o`` lies in the polygon.

    A ray from the centre to the right crosses the border an odd number of times.
    """
    crossings = [
        _crossing(start, end, parameters)
        for start, end in zip(polygon, [*polygon[1:], polygon[0]], strict=True)
        if start[1] != end[1]
    ]
    return f"(({' + '.join(crossings)}) % 2 = 1)" if crossings else "FALSE"


def condition(region: Region, parameters: Parameters) -> str:
    """What must hold of the observations of one masklet, as an aggregate.

    Each of the ``steps`` has ``is_in``; ``in_time``, whether it counts; and ``was_in``, the same as
    ``is_in`` of the observation before. For a stay of some seconds, a step is a stretch of
    observations, and has ``stretch_s``.
    """
    if region.relation == "in":
        return "coalesce(bool_or(is_in AND in_time), FALSE)"
    if region.relation == "entered":
        return "coalesce(bool_or(is_in AND NOT was_in AND in_time), FALSE)"
    if region.relation == "left":
        return "coalesce(bool_or(was_in AND NOT is_in AND in_time), FALSE)"
    if region.for_s is None:
        return "coalesce(bool_and(is_in) FILTER (in_time), FALSE)"
    return f"coalesce(max(stretch_s) >= {parameters.add(region.for_s)}, FALSE)"


def _crossing(start: Corner, end: Corner, parameters: Parameters) -> str:
    (x1, y1), (x2, y2) = start, end
    slope = (x2 - x1) / (y2 - y1)
    low, high = parameters.add(y1), parameters.add(y2)
    at_height = f"{parameters.add(x1)} + {parameters.add(slope)} * (y - {low})"
    return f"(({low} > y) <> ({high} > y) AND x < {at_height})::INT"
