"""Every query gives the rows that counting one by one gives, in their order, page by page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskstream.pipeline.archive.search.index import Index
from maskstream.pipeline.archive.search.query import Query
from tests.pipeline.archive.search.brute_force import World, answer
from tests.pipeline.archive.search.queries import queries
from tests.pipeline.archive.synthetic import Made, add_video, add_videos, create, remove_video

ONE = Made(concepts=("dog",), num_masklets=4)
NO_PERSON = Made(concepts=("dog", "red car"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, World]:
    """Videos of several kinds: of all concepts, of two, of a later pass; and one that is gone."""
    storage = create(str(tmp_path_factory.mktemp("index")))
    ids = add_videos(storage, range(9))
    add_videos(storage, range(9, 11), NO_PERSON)
    add_video(storage, 11, replace(Made(), width=48, height=64))
    add_video(storage, 12, replace(ONE, num_frames=40))
    add_video(storage, 0, ONE, first_object_id=8, source="/archive/000000.mp4")
    remove_video(storage, ids[3])
    return Index(storage.url), World.read(storage)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_query_gives_what_counting_gives(
    searched: tuple[Index, World], data: st.DataObject
) -> None:
    index, world = searched
    query = Query.parse(data.draw(queries(world)))
    expected = answer(world, query)
    num_pages = data.draw(st.integers(1, 4))
    page_size = max(1, len(expected) // num_pages)
    found = [(hit.video_id, hit.object_id) for hit in index.hits(query, page_size=page_size)]
    assert found == expected
    assert index.count(query) == len(expected)


def test_hits_are_the_rows_of_the_tracks(searched: tuple[Index, World]) -> None:
    index, world = searched
    hits = {(hit.video_id, hit.object_id): hit for hit in index.hits()}
    assert len(hits) == len(world.tracks)
    for track in world.tracks:
        hit, video = hits[track["video_id"], track["object_id"]], world.videos[track["video_id"]]
        for name in set(track) - {"path_s", "path_x", "path_y"}:
            assert getattr(hit, name) == track[name], name
        assert (hit.source, hit.name) == (video["source"], video["name"])
        assert (hit.width, hit.height) == (video["width"], video["height"])


def test_observations_and_masks_are_those_of_the_hit(searched: tuple[Index, World]) -> None:
    index, world = searched
    for hit in index.search("red car", limit=5).hits:
        rows = world.observations[hit.video_id, hit.object_id]
        seen = index.observations(hit)
        assert [(one.frame, one.pts_s, one.rle) for one in seen] == [
            (row["frame"], row["pts_s"], row["rle"]) for row in rows
        ]
        for one, mask in index.masks(hit):
            assert mask.shape == (hit.height, hit.width)
            box = (one.x1 - one.x0) * hit.width * (one.y1 - one.y0) * hit.height
            # Corners are rounded to pixels.
            assert abs(int(mask.sum()) - box) <= hit.width + hit.height


def test_a_later_pass_is_part_of_its_video(searched: tuple[Index, World]) -> None:
    index, world = searched
    (video_id,) = (key for key, row in world.videos.items() if row["name"] == "000000.mp4")
    ids = {hit.object_id for hit in index.hits(videos=[video_id])}
    assert ids == set(range(12))
    assert {concept.text: concept.num_videos for concept in index.concepts} == {
        "dog": 12,
        "red car": 11,
        "person": 9,
    }
    assert index.search("dog", without=[{"concept": "person"}]).num_videos == 9


def test_the_index_at_an_address_answers_alike(
    tmp_path: Path,
) -> None:
    storage = create("memory://search-at-an-address")
    add_videos(storage, range(3))
    here = create(str(tmp_path / "in[dex]*'"))
    add_videos(here, range(3))
    polygon = [(0.2, 0.2), (0.8, 0.2), (0.5, 0.9)]
    with Index(storage.url) as far, Index(here.url) as near:
        for fields in ({}, {"region": {"polygon": polygon, "relation": "entered"}}):
            assert list(far.hits(fields)) == list(near.hits(fields))
        assert far.count() == 24
