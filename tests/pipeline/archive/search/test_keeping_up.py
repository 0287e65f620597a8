"""A reader keeps up with what happens to an index, and sees whole videos only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskstream.core.errors import ArchiveError, IndexFormatError, InputError
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.search.index import Index
from tests.pipeline.archive.synthetic import Made, add_video, add_videos, create, remove_video

NUM = Made().num_masklets


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    made = create(str(tmp_path / "index"))
    add_videos(made, range(3))
    return made


def test_what_is_added_and_removed_is_noticed_at_a_refresh(storage: Storage) -> None:
    with Index(storage.url) as index:
        assert not index.refresh()
        (added,) = add_videos(storage, [3])
        assert index.count() == 3 * NUM
        assert index.refresh()
        assert index.count() == 4 * NUM
        remove_video(storage, added)
        assert index.refresh()
        assert index.count() == 3 * NUM
        for table in ("tracks", "observations", "videos", "shots", "looked_for"):
            rows = index.sql(f"SELECT * FROM {table} WHERE video_id = $gone", {"gone": added})
            assert rows.num_rows == 0


def test_a_refresh_reads_no_manifest_twice(storage: Storage) -> None:
    with Index(storage.url) as index:
        for file in storage.files(layout.MANIFESTS):
            storage.write(f"{layout.MANIFESTS}/{file.name}", b"{}")
        add_videos(storage, [3])
        index.refresh()
        assert index.count() == 4 * NUM


def test_half_a_video_is_shown_only_if_asked_for(storage: Storage) -> None:
    video_id = add_video(storage, 5, Made(), whole=False)
    with Index(storage.url) as index, Index(storage.url, include_partial=True) as partial:
        assert index.count(videos=[video_id]) == 0
        hits = partial.search(videos=[video_id]).hits
        assert hits
        assert all(hit.last_frame < Made().num_frames // 2 for hit in hits)
        assert {hit.name for hit in hits} == {"000005.mp4"}
        assert partial.observations(hits[0])[0].frame == hits[0].first_frame
        assert partial.count("dog", without=[{"concept": "person"}], videos=[video_id]) >= 0
        assert not partial.refresh()
        add_video(storage, 5, Made())
        assert index.refresh()
        assert partial.refresh()
        assert index.count(videos=[video_id]) == partial.count(videos=[video_id]) == NUM
        assert list(index.hits()) == list(partial.hits())


def test_half_a_manifest_is_none(storage: Storage) -> None:
    name = storage.files(layout.MANIFESTS)[0].name
    path = f"{layout.MANIFESTS}/{name}"
    content = storage.read(path) or b""
    storage.write(path, content[:50])
    with Index(storage.url) as index:
        assert index.count() == 2 * NUM
        storage.write(path, content)
        assert index.refresh()
        assert index.count() == 3 * NUM


def test_a_page_stays_where_it_was_when_videos_come(storage: Storage) -> None:
    with Index(storage.url) as index:
        first = index.search(order="start", limit=5)
        add_videos(storage, range(3, 9))
        index.refresh()
        rest = list(index.search(order="start", limit=1000, cursor=first.cursor).hits)
        keys = [(hit.start_s, hit.video_id, hit.object_id) for hit in [*first.hits, *rest]]
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)
        assert len(set(keys)) >= 3 * NUM


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"is no index: it has no index\.json"):
        Index(str(tmp_path))
    with pytest.raises(ArchiveError, match="nosuch"):
        Index("nosuch://bucket/index")


def test_an_index_of_another_version_is_refused(storage: Storage) -> None:
    head = json.loads(storage.read(layout.HEAD) or b"")
    storage.write(layout.HEAD, json.dumps(head | {"format_version": 9, "new": 1}).encode())
    with pytest.raises(IndexFormatError, match="the index is of version 9; this program reads 1"):
        Index(storage.url)
    storage.write(layout.HEAD, b"not JSON")
    with pytest.raises(IndexFormatError, match=r"index\.json"):
        Index(storage.url)


@pytest.mark.parametrize(
    "text",
    [
        "DROP VIEW tracks",
        "SELECT 1; SELECT 2",
        "COPY tracks TO '/tmp/tracks.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SET threads = 1",
        "SELECT nothing FROM tracks",
        "SELEC",
        "",
    ],
)
def test_a_statement_only_reads_the_index(storage: Storage, text: str) -> None:
    with Index(storage.url) as index:
        with pytest.raises(InputError):
            index.sql(text)
        assert index.count() == 3 * NUM


def test_statements_see_all_tables(storage: Storage) -> None:
    with Index(storage.url) as index:
        table = index.sql(
            "SELECT v.name, count(*) AS n FROM tracks JOIN videos v USING (video_id) "
            "WHERE best_score >= $least GROUP BY ALL ORDER BY ALL",
            {"least": 0.0},
        )
        names = [f"{number:06d}.mp4" for number in range(3)]
        assert table.to_pylist() == [{"name": name, "n": NUM} for name in names]
        assert index.sql("SELECT count(*) AS n FROM shots").to_pylist() == [{"n": 6}]
