"""Queries answered by looking at every row, one by one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.search.query import Companion, Corner, Query, Region
from tests.pipeline.archive.synthetic import read_all

Row = Mapping[str, Any]
Key = tuple[str, int]


@dataclass(frozen=True)
class World:
    """All rows of an index."""

    tracks: Sequence[Row]
    observations: Mapping[Key, Sequence[Row]]
    videos: Mapping[str, Row]

    @classmethod
    def read(cls, storage: Storage) -> World:
        observations: dict[Key, list[Row]] = {}
        for row in read_all(storage, "observations").to_pylist():
            observations.setdefault((row["video_id"], row["object_id"]), []).append(row)
        for rows in observations.values():
            rows.sort(key=lambda row: row["frame"])
        videos: dict[str, dict[str, Any]] = {}
        for row in read_all(storage, "videos").to_pylist():
            known = videos.setdefault(row["video_id"], {**row, "concepts": []})
            known["concepts"] = sorted({*known["concepts"], *row["concepts"]})
        return cls(read_all(storage, "tracks").to_pylist(), observations, videos)

    def without_video(self, video_id: str) -> World:
        return World(
            [row for row in self.tracks if row["video_id"] != video_id],
            {key: rows for key, rows in self.observations.items() if key[0] != video_id},
            {key: row for key, row in self.videos.items() if key != video_id},
        )


def answer(world: World, query: Query) -> list[Key]:
    """The hits in order, for a query whose words are concepts themselves."""
    hits = [track for track in world.tracks if is_hit(world, query, track)]
    hits.sort(key=lambda track: (track["video_id"], track["object_id"]))
    hits.sort(key=lambda track: order_key(query, track))
    return [(track["video_id"], track["object_id"]) for track in hits]


def order_key(query: Query, track: Row) -> float:
    sign = 1 if query.is_ascending else -1
    if query.order == "recorded":
        started = track["started_at"]
        return math.inf if started is None else sign * started.timestamp()
    value = {
        "best_score": track["best_score"],
        "mean_score": track["mean_score"],
        "similarity": 1.0,
        "duration": track["duration_s"],
        "area": track["mean_area"],
        "speed": track["mean_speed"],
        "start": track["start_s"],
    }[query.order]
    return float(sign * value)


def is_hit(world: World, query: Query, track: Row) -> bool:
    video = world.videos[track["video_id"]]
    return (
        query.concept in (None, track["concept"])
        and _is_of_videos(query.videos, video)
        and _is_in_span(query, track)
        and _is_in_daily_span(query, track)
        and _is_between(track["duration_s"], query.min_duration_s, query.max_duration_s)
        and _is_between(track["mean_score"], query.min_score, None)
        and _is_between(track["best_score"], query.min_best_score, None)
        and _is_between(track["mean_area"], query.min_area, query.max_area)
        and _is_between(track["mean_speed"], query.min_speed, query.max_speed)
        and _moves(query, track, video)
        and all(_has(world, track, one) for one in query.beside)
        and not any(_has(world, track, one) for one in query.without)
        and {one.concept for one in query.without} <= set(video["concepts"])
        and _is_in_crowd(world, query, track)
        and _is_in_region(world, query, track)
    )


def _is_between(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _is_of_videos(patterns: Iterable[str], video: Row) -> bool:
    names = (video["video_id"], video["name"], video["source"])
    wanted = list(patterns)
    return not wanted or any(fnmatchcase(name, one) for name in names for one in wanted)


def _is_in_span(query: Query, track: Row) -> bool:
    if query.after_s is not None and track["end_s"] < query.after_s:
        return False
    if query.before_s is not None and track["start_s"] > query.before_s:
        return False
    if query.since is None and query.until is None:
        return True
    start: datetime | None = track["started_at"]
    if start is None:
        return False
    end = start + timedelta(seconds=track["duration_s"])
    return (query.since is None or end >= query.since) and (
        query.until is None or start <= query.until
    )


def _is_in_daily_span(query: Query, track: Row) -> bool:
    if query.daily_from is None or query.daily_until is None:
        return True
    if track["started_at"] is None:
        return False
    start = track["started_at"].astimezone(ZoneInfo(query.time_zone)).replace(tzinfo=None)
    end = start + timedelta(seconds=track["duration_s"])
    for days in (-1, 0, 1):
        day = start.date() + timedelta(days=days)
        begin = datetime.combine(day, query.daily_from)
        until = datetime.combine(day, query.daily_until)
        if query.daily_until < query.daily_from:
            until += timedelta(days=1)
        if start <= until and end >= begin:
            return True
    return False


def _moves(query: Query, track: Row, video: Row) -> bool:
    right, up = track["move_x"] * video["width"], -track["move_y"] * video["height"]
    length = math.hypot(right, up)
    if query.min_move is not None and length < query.min_move * math.hypot(
        video["width"], video["height"]
    ):
        return False
    if query.direction is None:
        return True
    wanted = {"right": 0.0, "up": 90.0, "left": 180.0, "down": 270.0}.get(
        str(query.direction), query.direction
    )
    apart = abs(math.degrees(math.atan2(up, right)) - float(wanted)) % 360
    return length > 0 and min(apart, 360 - apart) <= query.within_deg


def _has(world: World, track: Row, companion: Companion) -> bool:
    return any(_is_company(track, other, companion) for other in world.tracks)


def _is_company(track: Row, other: Row, companion: Companion) -> bool:
    if other["video_id"] != track["video_id"] or other["object_id"] == track["object_id"]:
        return False
    gap = max(other["start_s"] - track["end_s"], track["start_s"] - other["end_s"], 0.0)
    return (
        other["concept"] == companion.concept
        and (companion.within_s is None or gap <= companion.within_s)
        and _is_between(other["mean_score"], companion.min_score, None)
        and _is_between(other["duration_s"], companion.min_duration_s, None)
        and _is_between(other["mean_area"], companion.min_area, None)
    )


def _in_span(query: Query, track: Row, seen: Row) -> bool:
    if not _is_between(seen["pts_s"], query.after_s, query.before_s):
        return False
    if query.since is None and query.until is None:
        return True
    moment = track["started_at"] + timedelta(seconds=seen["pts_s"] - track["start_s"])
    return (query.since is None or moment >= query.since) and (
        query.until is None or moment <= query.until
    )


def _is_in_crowd(world: World, query: Query, track: Row) -> bool:
    if not query.counts_at_once:
        return True
    counts = Counter(
        row["frame"]
        for (video_id, _), rows in world.observations.items()
        if video_id == track["video_id"]
        for row in rows
        if row["concept"] == track["concept"]
    )
    return any(
        _is_between(counts[row["frame"]], query.min_at_once, query.max_at_once)
        for row in world.observations[track["video_id"], track["object_id"]]
        if _in_span(query, track, row)
    )


def _is_in_region(world: World, query: Query, track: Row) -> bool:
    region = query.region
    if region is None:
        return True
    rows = world.observations[track["video_id"], track["object_id"]]
    inside = [_is_inside(region.polygon, row["x"], row["y"]) for row in rows]
    counts = [_in_span(query, track, row) for row in rows]
    if region.relation == "stayed":
        return _stays(region, rows, inside, counts)
    before: list[bool | None] = [None, *inside[:-1]]
    wanted = {"in": (True, False, None), "entered": (False,), "left": (True,)}[region.relation]
    return any(
        now is (region.relation != "left") and was in wanted and is_counted
        for now, was, is_counted in zip(inside, before, counts, strict=True)
    )


def _stays(
    region: Region, rows: Sequence[Row], inside: Sequence[bool], counts: Sequence[bool]
) -> bool:
    if region.for_s is None:
        told = [now for now, is_counted in zip(inside, counts, strict=True) if is_counted]
        return bool(told) and all(told)
    began: float | None = None
    for row, now, is_counted in zip(rows, inside, counts, strict=True):
        if not (now and is_counted):
            began = None
            continue
        began = row["pts_s"] if began is None else began
        if row["pts_s"] - began >= region.for_s:
            return True
    return False


def _is_inside(polygon: Sequence[Corner], x: float, y: float) -> bool:
    """By a ray downwards, where the search sends one to the right."""
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (x1 > x) != (x2 > x) and y < y1 + (y2 - y1) * (x - x1) / (x2 - x1):
            inside = not inside
    return inside
