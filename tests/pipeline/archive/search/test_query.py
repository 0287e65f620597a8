"""A query is checked whole before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskstream.core.errors import InputError, NotIndexedError, RequestError
from maskstream.pipeline.archive.search.index import Index
from maskstream.pipeline.archive.search.query import Query
from tests.pipeline.archive.synthetic import add_videos, create


def faults(**fields: Any) -> list[str]:
    with pytest.raises(RequestError) as refused:
        Query.parse(fields)
    return refused.value.faults


def test_all_faults_are_named_at_once() -> None:
    named = faults(
        concept="dog",
        min_durations=3,
        min_area=2,
        after_s=9,
        before_s=1,
        daily_from="22:00",
        beside=[{"concept": "cat", "within": 2}],
    )
    assert named == [
        "min_area: input should be less than or equal to 1, not 2",
        "unknown key 'beside[0].within'",
        "unknown key 'min_durations'; did you mean 'min_duration_s'?",
        "after_s is larger than before_s",
        "daily_from and daily_until go together",
    ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"concept": " "}, "concept: "),
        ({"near": 0.5}, "near is given without concept"),
        ({"concept": "dog", "near": 2}, "near: "),
        ({"since": "2026-01-01T00:00:00"}, "since: "),
        ({"time_zone": "Mars/Olympus"}, "time_zone: there is no 'Mars/Olympus'"),
        ({"time_zone": "../../etc/passwd"}, "time_zone: there is no"),
        ({"region": {"polygon": [(0, 0), (1, 1)]}}, "region.polygon: "),
        ({"region": {"polygon": [(0, 0), (1, 1), (0, float("nan"))]}}, "region.polygon"),
        (
            {"region": {"polygon": [(0, 0), (1, 1), (0, 1)], "for_s": 1}},
            "region.for_s goes with the relation 'stayed' only",
        ),
        ({"order": "similarity"}, "the order 'similarity' needs a concept"),
        ({"order": "beauty"}, "order: "),
        ({"min_at_once": 0}, "min_at_once: "),
        ({"direction": "sideways"}, "direction"),
        ({"min_speed": 2, "max_speed": 1}, "min_speed is larger than max_speed"),
    ],
)
def test_a_fault_is_named(fields: dict[str, Any], fault: str) -> None:
    assert any(one.startswith(fault) for one in faults(**fields))


def test_a_text_is_never_part_of_the_statement(tmp_path: Path) -> None:
    concept = "dog'); DROP VIEW tracks; --"
    storage = create(str(tmp_path / "index"))
    add_videos(storage, range(2))
    with Index(storage.url) as index:
        with pytest.raises(NotIndexedError):
            index.search(concept)
        assert index.count(videos=["'; DROP VIEW tracks; --"]) == 0
        assert index.count() == 16


def test_limits_and_cursors_are_checked(tmp_path: Path) -> None:
    storage = create(str(tmp_path / "index"))
    add_videos(storage, range(3))
    with Index(storage.url) as index:
        cursor = index.search("dog", limit=2).cursor
        assert cursor is not None
        for limit in (0, -1, 10**9, True, 1.5):
            with pytest.raises(InputError, match="limit"):
                index.search("dog", limit=limit)  # type: ignore[arg-type]
        for wrong in ("", "x", "####", cursor[:-4], "W10"):
            with pytest.raises(InputError, match="cursor"):
                index.search("dog", cursor=wrong)
        with pytest.raises(InputError, match="belongs to another query"):
            index.search("person", cursor=cursor)
        assert index.search("dog", limit=2, cursor=cursor).hits != index.search("dog", limit=2).hits
