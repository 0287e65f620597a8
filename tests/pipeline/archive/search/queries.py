"""Made-up queries, many of them at the very edge of what some masklet is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import time, timedelta
from typing import Any

from hypothesis import strategies as st

from maskstream.pipeline.archive.search.query import ORDERS
from tests.pipeline.archive.search.brute_force import Row, World

CONCEPTS = ("dog", "red car", "person")


@st.composite
def queries(draw: st.DrawFn, world: World) -> dict[str, Any]:
    """The fields of a query: a few kinds of questions at once."""
    tracks = world.tracks
    fields: dict[str, Any] = {"order": draw(st.sampled_from(ORDERS[:2] + ORDERS[3:]))}
    if draw(st.booleans()):
        fields["concept"] = draw(st.sampled_from(CONCEPTS))
    if draw(st.integers(0, 3)) == 0:
        fields["ascending"] = draw(st.booleans())
    kinds: list[Callable[[st.DrawFn, Sequence[Row]], dict[str, Any]]] = [
        _span, _moment, _daily, _size, _motion, _crowd, _region, _company, _videos,
    ]  # fmt: skip
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=3, unique=True)):
        fields |= kind(draw, tracks)
    return fields


def _pair(draw: st.DrawFn, low: str, high: str, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """One or both bounds, in order."""
    bounds = sorted([draw(values), draw(values)])
    which = draw(st.sampled_from(["low", "high", "both"]))
    pair = dict(zip((low, high), bounds, strict=True))
    return {"low": {low: pair[low]}, "high": {high: pair[high]}, "both": pair}[which]


def _of(tracks: Sequence[Row], name: str) -> st.SearchStrategy[Any]:
    return st.sampled_from([track[name] for track in tracks])


def _span(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    times = _of(tracks, "start_s") | _of(tracks, "end_s") | st.floats(0, 12)
    return _pair(draw, "after_s", "before_s", times)


def _moment(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    known = [track["started_at"] for track in tracks if track["started_at"] is not None]
    hours = st.floats(-3, 3).map(lambda hours: timedelta(hours=hours))
    moments = st.builds(lambda start, shift: start + shift, st.sampled_from(known), hours)
    return _pair(draw, "since", "until", st.sampled_from(known) | moments)


def _daily(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    of_day = st.builds(time, st.integers(0, 23), st.sampled_from([0, 12, 30, 59]))
    zones = st.sampled_from(["UTC", "Europe/Vienna", "Asia/Kathmandu", "America/St_Johns"])
    return {"daily_from": draw(of_day), "daily_until": draw(of_day), "time_zone": draw(zones)}


def _size(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    which = draw(st.integers(0, 3))
    if which == 0:
        return _pair(draw, "min_duration_s", "max_duration_s", _of(tracks, "duration_s"))
    if which == 1:
        return _pair(draw, "min_area", "max_area", _of(tracks, "mean_area"))
    if which == 2:
        return _pair(draw, "min_speed", "max_speed", _of(tracks, "mean_speed"))
    return {
        "min_score": draw(_of(tracks, "mean_score")),
        "min_best_score": draw(_of(tracks, "best_score")),
    }


def _motion(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    words = st.sampled_from(["left", "right", "up", "down"])
    fields: dict[str, Any] = {"direction": draw(words | st.floats(-360, 360))}
    if draw(st.booleans()):
        fields["within_deg"] = draw(st.floats(1, 180))
    if draw(st.booleans()):
        fields["min_move"] = draw(st.floats(0, 0.3))
    return fields


def _crowd(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    return _pair(draw, "min_at_once", "max_at_once", st.integers(1, 4))


def _region(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    corner = st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1))
    boxes = st.builds(
        lambda x, y, size: ((x, y), (x + size, y), (x + size, y + size), (x, y + size)),
        st.floats(0, 0.7),
        st.floats(0, 0.7),
        st.floats(0.1, 0.6),
    )
    polygon = draw(st.lists(corner, min_size=3, max_size=6).map(tuple) | boxes)
    region: dict[str, Any] = {
        "polygon": polygon,
        "relation": draw(st.sampled_from(["in", "entered", "left", "stayed"])),
    }
    if region["relation"] == "stayed" and draw(st.booleans()):
        region["for_s"] = draw(st.sampled_from([0, 0.5, 1.0, 2.0]) | st.floats(0, 3))
    return {"region": region}


def _company(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    def companion() -> dict[str, Any]:
        made: dict[str, Any] = {"concept": draw(st.sampled_from(CONCEPTS))}
        if draw(st.booleans()):
            made["within_s"] = draw(st.none() | st.floats(0, 5))
        if draw(st.integers(0, 2)) == 0:
            made["min_score"] = draw(_of(tracks, "mean_score"))
        if draw(st.integers(0, 2)) == 0:
            made["min_duration_s"] = draw(_of(tracks, "duration_s"))
        if draw(st.integers(0, 2)) == 0:
            made["min_area"] = draw(_of(tracks, "mean_area"))
        return made

    names = draw(st.sampled_from([("beside",), ("without",), ("beside", "without")]))
    return {name: (companion(),) for name in names}


def _videos(draw: st.DrawFn, tracks: Sequence[Row]) -> dict[str, Any]:
    patterns = _of(tracks, "video_id") | st.sampled_from(["00000[1-4].mp4", "/archive/*", "*9.mp4"])
    return {"videos": tuple(draw(st.lists(patterns, min_size=1, max_size=3)))}
