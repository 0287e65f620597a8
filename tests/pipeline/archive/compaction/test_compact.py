"""Compacting changes no answer, whenever it is cut off, and whoever reads meanwhile."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskstream.core.errors import ArchiveError, IndexBusyError
from maskstream.pipeline.archive.compaction import compact
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import SCHEMAS, SORTED_BY, TableName
from maskstream.pipeline.archive.indexing.lock import BuildLock
from maskstream.pipeline.archive.search import Index, Query
from maskstream.pipeline.archive.search.contents import read_catalogue
from tests.pipeline.archive.search.brute_force import World, answer
from tests.pipeline.archive.search.queries import queries
from tests.pipeline.archive.synthetic import Made, add_video, add_videos, create, remove_video

SMALL = 4000
"""So small a target that a compacted file is never merged again."""
NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    made = create(str(tmp_path / "index"))
    add_videos(made, range(5))
    return made


def rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """All that the index holds, by table, in one order."""
    with Index(url) as index:
        return {
            name: index.sql(f"SELECT * FROM {name} ORDER BY ALL").to_pylist()
            for name in ("tracks", "observations", "shots", "videos", "video_passes", "looked_for")
        }


def files(storage: Storage) -> set[str]:
    root = Path(storage.url)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def tables(storage: Storage, name: TableName) -> list[pa.Table]:
    blobs = [storage.read(path) or b"" for path in read_catalogue(storage).paths(name)]
    return [pq.read_table(io.BytesIO(blob)) for blob in blobs]


def test_no_answer_changes(storage: Storage) -> None:
    expected = rows(storage.url)
    done = compact(storage.url, grace_s=0, now=NOW)
    assert (done.number, done.num_added, done.num_removed) == (1, 5, 0)
    assert rows(storage.url) == expected
    own = [name for name in files(storage) if name.startswith(layout.VIDEOS)]
    assert not [name for name in own if name.endswith(".parquet")]
    with Index(storage.url) as index:
        hit = index.search("dog", limit=1).hits[0]
        assert len(index.observations(hit)) == hit.num_observations


def test_what_comes_later_is_merged_with_what_there_is(storage: Storage) -> None:
    compact(storage.url, grace_s=0, target_bytes=SMALL, now=NOW)
    add_videos(storage, range(5, 8))
    add_video(storage, 0, Made(concepts=("cat",)), first_object_id=8)
    expected = rows(storage.url)
    assert compact(storage.url, grace_s=0, target_bytes=SMALL, now=NOW).num_added == 4
    assert rows(storage.url) == expected
    assert len(tables(storage, "observations")) == 2


def test_files_are_sorted_and_as_the_record_says(storage: Storage) -> None:
    compact(storage.url, target_bytes=SMALL, now=NOW)
    catalogue = read_catalogue(storage)
    assert catalogue.record is not None
    for entry in catalogue.record.files:
        content = storage.read(entry.name) or b""
        assert hashlib.sha256(content).hexdigest() == entry.sha256
        assert len(content) == entry.size_bytes
        table = pq.read_table(io.BytesIO(content))
        assert entry.table is not None
        assert table.schema.equals(SCHEMAS[entry.table])
        assert table.num_rows == entry.num_rows
        order = [(column, "ascending") for column in SORTED_BY[entry.table]]
        assert table.equals(table.sort_by(order))
    for name in SCHEMAS:
        keys = [
            tuple(row[column] for column in SORTED_BY[name])
            for table in tables(storage, name)
            for row in table.to_pylist()
        ]
        assert keys == sorted(keys)


def test_a_removed_video_leaves_no_row(storage: Storage) -> None:
    compact(storage.url, grace_s=0, now=NOW)
    add_videos(storage, [5])
    with Index(storage.url) as index:
        names = {hit.name: hit.video_id for hit in index.hits()}
        gone = [names["000002.mp4"], names["000005.mp4"]]
        for video_id in gone:
            remove_video(storage, video_id)
        assert index.refresh()
        assert not {hit.video_id for hit in index.hits()} & set(gone)
        expected = rows(storage.url)
        assert compact(storage.url, grace_s=0, now=NOW).num_removed == 1
        assert rows(storage.url) == expected
        for name in SCHEMAS:
            for table in tables(storage, name):
                assert not set(table["video_id"].to_pylist()) & set(gone)


def test_a_video_that_comes_back_is_there_again(storage: Storage) -> None:
    expected = rows(storage.url)
    compact(storage.url, grace_s=0, now=NOW)
    with Index(storage.url) as index:
        video_id = index.search(videos=["000001.mp4"]).hits[0].video_id
    remove_video(storage, video_id)
    add_videos(storage, [1])
    assert rows(storage.url) == expected
    remove_video(storage, video_id)
    compact(storage.url, grace_s=0, now=NOW)
    add_videos(storage, [1])
    assert rows(storage.url) == expected


def test_a_reader_goes_on_until_files_are_due_and_after(storage: Storage) -> None:
    with Index(storage.url) as index:
        expected = list(index.hits())
        region = {"polygon": [(0, 0), (1, 0), (1, 1), (0, 1)]}
        compact(storage.url, now=NOW)
        add_videos(storage, [5])
        compact(storage.url, now=NOW + HOUR / 2)
        assert list(index.hits(region=region)) == expected
        before = files(storage)
        # Now what the first compaction merged is due, and what the second replaced is not.
        compact(storage.url, now=NOW + 1.2 * HOUR)
        assert len(before - files(storage)) == 5 * 5
        assert index.count(region=region) == 6 * Made().num_masklets
        compact(storage.url, now=NOW + 5 * HOUR)
        compact(storage.url, now=NOW + 9 * HOUR)
        assert index.count(region=region) == 6 * Made().num_masklets
        left = files(storage)
    assert len([name for name in left if layout.catalogue_number(name) is not None]) <= 2
    assert not [name for name in left if name.startswith(layout.VIDEOS) and "parquet" in name]


def test_without_news_nothing_is_written(storage: Storage) -> None:
    compact(storage.url, grace_s=0, now=NOW)
    compact(storage.url, grace_s=0, now=NOW)  # notes down what the first has deleted
    before = files(storage)
    assert compact(storage.url, now=NOW).num_files == 0
    assert files(storage) == before


def test_cut_off_at_any_moment_it_leaves_the_index_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = create(str(tmp_path / "begun"))
    add_videos(begun, range(2))
    compact(begun.url, grace_s=0, target_bytes=SMALL, now=NOW)
    with Index(begun.url) as index:
        remove_video(begun, index.search().hits[0].video_id)
    add_videos(begun, [2])

    def prepare(name: str) -> Storage:
        return Storage(str(shutil.copytree(begun.url, tmp_path / name)))

    whole = prepare("whole")
    expected = rows(whole.url)
    compact(whole.url, grace_s=0, now=NOW)
    compact(whole.url, grace_s=0, now=NOW)
    assert rows(whole.url) == expected
    for step in range(0, 1000, 2):  # every other one, for the time that each takes
        cut = prepare(f"cut{step}")
        with monkeypatch.context() as patch:
            disk = FullDisk(step)
            disk.fill(patch)
            try:
                compact(cut.url, grace_s=0, now=NOW)
            except ArchiveError:
                was_cut = True
            else:
                was_cut = False
        assert rows(cut.url) == expected
        if not was_cut:
            break
        compact(cut.url, grace_s=0, now=NOW)
        compact(cut.url, grace_s=0, now=NOW)
        assert rows(cut.url) == expected
        # The same files, but for the numbers of the catalogues.
        assert len(files(cut)) == len(files(whole))
    assert step > 10


class FullDisk:
    """Lets so many writes and deletions through; then fails, half way into a write."""

    def __init__(self, num_steps: int) -> None:
        self._left = num_steps

    def fill(self, patch: pytest.MonkeyPatch) -> None:
        write, delete, writing = Storage.write, Storage.delete, Storage.writing

        def half_write(storage: Storage, path: str, content: bytes) -> None:
            self._step(lambda: write(storage, path, content[: len(content) // 2]))
            write(storage, path, content)

        def no_delete(storage: Storage, path: str) -> None:
            self._step(lambda: None)
            delete(storage, path)

        @contextmanager
        def half_writing(storage: Storage, path: str) -> Iterator[BinaryIO]:
            self._step(lambda: write(storage, path, b"PAR1 and no more"))
            with writing(storage, path) as file:
                yield file

        patch.setattr(Storage, "write", half_write)
        patch.setattr(Storage, "delete", no_delete)
        patch.setattr(Storage, "writing", half_writing)

    def _step(self, fail: Callable[[], None]) -> None:
        if self._left == 0:
            fail()
            raise ArchiveError("no space left on device")
        self._left -= 1


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, World]:
    """Compacted passes in several files, passes that came since, and a video that is gone."""
    storage = create(str(tmp_path_factory.mktemp("index")))
    ids = add_videos(storage, range(7))
    add_video(storage, 0, Made(concepts=("dog",)), first_object_id=8)
    add_videos(storage, range(7, 13))
    world = World.read(storage).without_video(ids[2])
    for video_id in ids[4:]:
        remove_video(storage, video_id)
    compact(storage.url, target_bytes=SMALL, now=NOW)
    add_videos(storage, [4])
    compact(storage.url, grace_s=0, target_bytes=SMALL, now=NOW)
    remove_video(storage, ids[2])
    add_videos(storage, [5, 6])
    return Index(storage.url), world


@given(st.data())
@settings(max_examples=60)
def test_every_query_gives_what_counting_gives(
    mixed: tuple[Index, World], data: st.DataObject
) -> None:
    index, world = mixed
    query = Query.parse(data.draw(queries(world)))
    found = [(hit.video_id, hit.object_id) for hit in index.hits(query)]
    assert found == answer(world, query)
    assert index.count(query) == len(found)


def test_an_index_at_an_address_is_compacted_alike(storage: Storage) -> None:
    far = create("memory://compacted-at-an-address")
    add_videos(far, range(5))
    expected = rows(storage.url)
    compact(far.url, grace_s=0, target_bytes=SMALL, now=NOW)
    assert rows(far.url) == expected


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is no index"):
        compact(str(tmp_path))


def test_one_compacts_at_a_time_and_builds_are_not_waited_for(storage: Storage) -> None:
    with (
        BuildLock(storage, path=layout.COMPACT_LOCK),
        pytest.raises(IndexBusyError, match=r"process \d+ on .* works on"),
    ):
        compact(storage.url, now=NOW)
    with BuildLock(storage):
        assert compact(storage.url, now=NOW).num_added == 5
    assert layout.COMPACT_LOCK not in files(storage)
