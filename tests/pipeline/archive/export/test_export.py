"""What is written says of each hit what the index says, and shows the right frames."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as reference

from maskstream.core.errors import InputError, OutputError, SourceError
from maskstream.pipeline.archive.export import (
    write_clip,
    write_clips,
    write_coco,
    write_contact_sheet,
    write_fiftyone,
    write_rows,
    write_youtube_vis,
)
from maskstream.pipeline.archive.export.sheet import TILE
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.search import Hit, Index
from tests.pipeline.archive.synthetic import Made, add_video, create
from tests.pipeline.clips import number_in, numbered_image
from tests.pipeline.clips import write_clip as encode

MADE = Made(num_frames=60, max_frames=30, num_masklets=4, width=80, height=48)
FPS = 10


def encode_numbers(path: Path, num_frames: int = 60, **options: Any) -> Path:
    size = {"width": options.pop("width", 80)}
    images = [numbered_image(number, **size) for number in range(num_frames)]
    return encode(path, images, **{"fps": FPS, **options})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return create(str(tmp_path / "index"))


@pytest.fixture
def index(storage: Storage, tmp_path: Path) -> Index:
    for number in range(2):
        clip = encode_numbers(tmp_path / f"clip {number}: 50%.mp4")
        add_video(storage, number, MADE, source=str(clip))
    return Index(storage.url)


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_frames_are_those_that_were_indexed(index: Index) -> None:
    for hit in index.search(limit=4).hits:
        seen = list(index.frames(hit))
        assert [one.observation for one in seen] == index.observations(hit)
        for one in seen:
            assert number_in(one.image) == one.observation.frame
            assert one.mask.shape == one.image.shape[:2] == (48, 80)


def test_a_video_that_is_elsewhere_is_fetched(storage: Storage, tmp_path: Path) -> None:
    clip = encode_numbers(tmp_path / "clip.mp4")
    with fsspec.open("memory://export/clip.mp4", "wb") as file:
        file.write(clip.read_bytes())
    add_video(storage, 0, MADE, source="memory://export/clip.mp4")
    with Index(storage.url) as index:
        hit = index.search().hits[0]
        assert [number_in(one.image) for one in index.frames(hit)] == [
            one.frame for one in index.observations(hit)
        ]
        with fsspec.open("memory://export/clip.mp4", "wb") as file:
            file.write(b"")
        with pytest.raises(SourceError, match="is empty"):
            list(index.frames(hit))


def test_a_video_that_has_changed_is_noticed(index: Index) -> None:
    hit = max(index.hits(), key=lambda hit: hit.last_frame)
    clip = Path(hit.source)
    encode_numbers(clip, width=160)
    with pytest.raises(SourceError, match="has changed since it was indexed: it is 160x48"):
        list(index.frames(hit))
    encode_numbers(clip, hit.last_frame - 1)
    with pytest.raises(SourceError, match="has changed since it was indexed"):
        list(index.frames(hit))
    encode_numbers(clip, fps=20)
    with pytest.raises(SourceError, match=r"has changed since it was indexed: frame \d+ is at"):
        list(index.frames(hit))
    os.remove(clip)
    with pytest.raises(SourceError, match="does not exist"):
        list(index.frames(hit))


def test_clips_show_the_stretch_and_some_more(index: Index, tmp_path: Path) -> None:
    hits = index.search("dog").hits
    paths = list(write_clips(index, hits, tmp_path / "clips", padding_s=0.5))
    assert len(paths) == len(hits) > 0
    for hit, path in zip(hits, paths, strict=True):
        pictures = decoded(path)
        first, last = max(0, hit.first_frame - 5), min(59, hit.last_frame + 5)
        assert len(pictures) == last - first + 1
        # The bars that spell the number may be painted over where something was seen.
        before = range(first, hit.first_frame)
        assert [number_in(pictures[frame - first]) for frame in before] == list(before)
        for one, mask in index.masks(hit):
            plain = numbered_image(one.frame).astype(int)
            painted = pictures[one.frame - first].astype(int)
            assert np.abs(painted - plain)[mask].mean() > 30
        if last == hit.last_frame + 5:
            plain = numbered_image(last).astype(int)
            assert np.abs(pictures[-1].astype(int) - plain).mean() < 20


def test_between_frames_that_were_looked_at_the_mask_stays(
    storage: Storage, tmp_path: Path
) -> None:
    clip = encode_numbers(tmp_path / "clip.mp4", 120)
    every_third = Made(num_frames=40, max_frames=20, num_masklets=1, width=80, height=48, fps=FPS)
    add_video(storage, 0, every_third, source=str(clip), every_nth=3)
    with Index(storage.url) as index:
        (hit,) = index.hits()
        write_clip(index, hit, tmp_path / "out.mp4", padding_s=0)
        pictures = decoded(tmp_path / "out.mp4")
        assert len(pictures) == hit.last_frame - hit.first_frame + 1
        for one, mask in index.masks(hit):
            after = one.frame + 1
            if after < hit.last_frame:
                picture = pictures[after - hit.first_frame].astype(int)
                assert np.abs(picture - numbered_image(after))[mask].mean() > 30


def test_a_contact_sheet_has_a_tile_for_each_hit(index: Index, tmp_path: Path) -> None:
    hits = index.search(limit=7).hits
    path = tmp_path / "sheet.png"
    assert write_contact_sheet(index, hits, path, columns=3) == len(hits)
    with Image.open(path) as sheet:
        width, height = sheet.size
        assert 3 * TILE[0] < width < 3 * TILE[0] + 60
        assert 3 * TILE[1] < height < 3 * TILE[1] + 250
    with pytest.raises(InputError, match="1 to 2000 hits, not 0"):
        write_contact_sheet(index, [], path)
    with pytest.raises(InputError, match="no kind of picture"):
        write_contact_sheet(index, hits, tmp_path / "sheet.docx")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_coco_has_every_observation(index: Index, tmp_path: Path) -> None:
    hits = list(index.hits(order="start"))
    path = tmp_path / "coco.json"
    number = write_coco(index, hits, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    images = {one["id"]: one for one in content["images"]}
    names = {one["id"]: one["name"] for one in content["categories"]}
    assert number == len(content["annotations"]) == sum(hit.num_observations for hit in hits)
    assert len({one["file_name"] for one in content["images"]}) == len(images)
    by_key = {(hit.video_id, hit.object_id): hit for hit in hits}
    found: dict[tuple[str, int, int], Any] = {}
    for one in content["annotations"]:
        image = images[one["image_id"]]
        hit = by_key[image["video_id"], one["track_id"]]
        assert (image["width"], image["height"], image["source"]) == (80, 48, hit.source)
        assert names[one["category_id"]] == hit.concept
        found[hit.video_id, hit.object_id, image["frame_index"]] = one
    for hit in hits:
        for seen, mask in index.masks(hit):
            one = found[hit.video_id, hit.object_id, seen.frame]
            assert np.array_equal(reference.decode(one["segmentation"]).astype(bool), mask)
            assert one["bbox"][2] == pytest.approx((seen.x1 - seen.x0) * 80, abs=0.01)


def test_youtube_vis_has_a_track_for_each_hit(index: Index, tmp_path: Path) -> None:
    hits = list(index.hits(order="start"))
    path = tmp_path / "vis.json"
    assert write_youtube_vis(index, hits, path) == len(hits)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert len(content["videos"]) == 2
    videos = {one["id"]: one for one in content["videos"]}
    for one in content["annotations"]:
        video = videos[one["video_id"]]
        (hit,) = (
            hit for hit in hits if (hit.source, hit.object_id) == (video["source"], one["track_id"])
        )
        shown = {
            frame: segmentation
            for frame, segmentation in zip(
                video["frame_indices"], one["segmentations"], strict=True
            )
            if segmentation is not None
        }
        seen = {item.frame: item.rle.decode() for item in index.observations(hit)}
        assert {frame: item["counts"] for frame, item in shown.items()} == seen
        assert [box is None for box in one["bboxes"]] == [area is None for area in one["areas"]]


def test_fiftyone_gets_pictures_and_labels(index: Index, tmp_path: Path) -> None:
    hits = list(index.hits())
    folder = tmp_path / "fiftyone"
    number = write_fiftyone(index, hits, folder)
    content = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert number == len(content["images"]) == len({(h.video_id, h.best_frame) for h in hits})
    for image in content["images"]:
        with Image.open(folder / "data" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
            assert number_in(np.asarray(picture)) == image["frame_index"]
    images = {one["id"]: one for one in content["images"]}
    keys = {
        (images[one["image_id"]]["source"], one["track_id"], images[one["image_id"]]["frame_index"])
        for one in content["annotations"]
    }
    assert {(hit.source, hit.object_id, hit.best_frame) for hit in hits} <= keys
    assert [one["id"] for one in content["annotations"]] == list(range(1, len(keys) + 1))


def test_rows_are_the_hits(index: Index, tmp_path: Path) -> None:
    hits = list(index.hits())
    for row_format in ("json", "csv", "parquet"):
        path = tmp_path / f"hits.{row_format}"
        assert write_rows(iter(hits), path, row_format) == len(hits)
    lines = (tmp_path / "hits.json").read_text(encoding="utf-8").splitlines()
    assert [_from_json(json.loads(line)) for line in lines] == hits
    rows = pq.read_table(tmp_path / "hits.parquet").to_pylist()
    assert [Hit(**row) for row in rows] == hits
    with (tmp_path / "hits.csv").open(encoding="utf-8", newline="") as file:
        told = list(csv.DictReader(file))
    assert [(row["video_id"], int(row["object_id"]), row["name"]) for row in told] == [
        (hit.video_id, hit.object_id, hit.name) for hit in hits
    ]
    assert list(told[0]) == list(asdict(hits[0]))


def test_what_cannot_be_written_says_so(index: Index, tmp_path: Path) -> None:
    hits = index.search(limit=1).hits
    nowhere = tmp_path / "none" / "file.json"
    for write in (write_coco, write_youtube_vis):
        with pytest.raises(OutputError, match="cannot be written"):
            write(index, hits, nowhere)
    for row_format in ("json", "csv", "parquet"):
        with pytest.raises(OutputError, match="cannot be written"):
            write_rows(hits, nowhere, row_format)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        list(write_clips(index, hits, tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        write_fiftyone(index, hits, tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_contact_sheet(index, hits, nowhere.with_suffix(".png"))
    shutil.rmtree(tmp_path / "none", ignore_errors=True)


def _from_json(record: dict[str, Any]) -> Hit:
    started = record["started_at"]
    return Hit(**record | {"started_at": started and datetime.fromisoformat(started)})
