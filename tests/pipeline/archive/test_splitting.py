"""Long videos in parts: the seams are right, and the objects on both sides are joined."""

from __future__ import annotations

import statistics
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskstream.core.rle import decode_mask
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.seeking import anchor_before_time
from maskstream.pipeline.archive.indexing.stitching import assign
from maskstream.pipeline.archive.indexing.tools import ModelTools
from maskstream.pipeline.archive.indexing.verifying import verify_index
from maskstream.pipeline.archive.plan.jobs import seams_of
from maskstream.pipeline.video.model import VideoModel
from tests.pipeline import scene
from tests.pipeline.archive.indexes import SETTINGS, build, manifests, read_table, rows_of
from tests.pipeline.clips import numbered_image, write_clip, write_numbered_clip

Masks = dict[int, NDArray[np.bool_]]

SPLIT = SETTINGS.model_copy(update={"split_longer_than_s": 1.0, "overlap_s": 0.4})


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.ts"])
def test_every_frame_belongs_to_one_part(tmp_path: Path, name: str) -> None:
    """By the numbers that are drawn into them; in an AVI they are found without its times."""
    clip = write_numbered_clip(tmp_path / name, 100, options={"g": "10", "bf": "2"})
    build(clip, tmp_path / "index", "dog", settings=SPLIT)
    build(clip, tmp_path / "whole", "dog")
    [split], [whole] = manifests(tmp_path / "index"), manifests(tmp_path / "whole")
    assert split.num_frames == 100
    for rows in (rows_of(tmp_path / "index", split), rows_of(tmp_path / "whole", whole)):
        assert [row["frame"] for row in rows] == list(range(100))
        assert [round(1000 * row["score"]) for row in rows] == list(range(100))
    stitched = [entry.name for entry in split.files if entry.table == "observations"]
    assert {one.rpartition("-")[2] for one in stitched} == {"stitched.parquet"}
    assert {one.split("-")[1] for one in stitched} == {"p0", "p1", "p2"}
    assert verify_index(Storage(str(tmp_path / "index"))).faults == []


def test_parts_of_a_split_are_gone_on_with(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 100, options={"g": "10"})
    build(clip, tmp_path / "whole", "dog", settings=SPLIT, in_hand=3)
    asked = iter(range(1000))
    while build(
        clip, tmp_path / "index", "dog", settings=SPLIT, must_stop=lambda: next(asked) % 8 == 7
    ).left:
        assert manifests(tmp_path / "index") == []
    assert manifests(tmp_path / "index") == manifests(tmp_path / "whole")


def test_shots_go_through_seams(tmp_path: Path) -> None:
    dark, light = numbered_image(0), numbered_image(1023)
    dark[24:], light[24:] = 20, 230
    images = [*[dark] * 40, *[light] * 25, *[dark] * 35]
    clip = write_clip(tmp_path / "clip.mp4", images, options={"g": "10"})
    found = []
    for name, settings in (("whole", SETTINGS), ("split", SPLIT)):
        build(clip, tmp_path / name, "dog", settings=settings)
        [manifest] = manifests(tmp_path / name)
        found.append(read_table(tmp_path / name, manifest, "shots").to_pylist())
    assert found[0] == found[1]
    assert [one["first_frame"] for one in found[0]] == [0, 40, 65]


def test_objects_are_joined_by_their_masks(tmp_path: Path, model: VideoModel) -> None:
    """Beside an index of the whole: the tracks of both, and how well their masks agree."""
    tools, texts = ModelTools(model, None), ("red circle", "blue square")
    images = [scene.image(number, square=number < 26) for number in range(30)]
    clip = write_clip(tmp_path / "clip.mp4", images, options={"crf": "10", "g": "6"})
    settings = SPLIT.model_copy(update={"split_longer_than_s": 0.5, "overlap_s": 0.25})
    build(clip, tmp_path / "index", *texts, settings=settings, tools=tools)
    build(clip, tmp_path / "whole", *texts, tools=tools)
    [split], [whole] = manifests(tmp_path / "index"), manifests(tmp_path / "whole")
    found = masks_by_object(rows_of(tmp_path / "index", split))
    expected = masks_by_object(rows_of(tmp_path / "whole", whole))
    ious = np.array([[iou(one, other) for other in found] for one in expected])
    matched = [ious[pair] for pair in assign(ious) if ious[pair] > 0.5]
    assert len(matched) >= 0.95 * len(expected)
    assert statistics.median(matched) >= 0.95
    ids = sorted({row["object_id"] for row in rows_of(tmp_path / "index", split)})
    assert ids == list(range(len(ids)))
    assert all("seam at" in loss for loss in split.losses)


def masks_by_object(rows: list[dict[str, Any]]) -> list[Masks]:
    found: dict[tuple[str, int], Masks] = {}
    for row in rows:
        code = {"size": [scene.HEIGHT, scene.WIDTH], "counts": row["rle"]}
        masks = found.setdefault((row["concept"], row["object_id"]), {})
        masks[row["frame"]] = decode_mask(code)
    return list(found.values())


def iou(one: Masks, other: Masks) -> float:
    empty = np.zeros((scene.HEIGHT, scene.WIDTH), np.bool_)
    both = [(one.get(frame, empty), other.get(frame, empty)) for frame in one.keys() | other.keys()]
    return float(sum((a & b).sum() for a, b in both) / sum((a | b).sum() for a, b in both))


def test_a_place_is_found_without_decoding(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 60, options={"g": "12", "bf": "2"})
    found = [anchor_before_time(clip, time_s) for time_s in (0.0, 0.39, 0.41, 1.9)]
    assert [one.index for one in found if one is not None] == [0, 0, 12, 48]
    without_times = write_numbered_clip(tmp_path / "clip.avi", 60, options={"g": "12", "bf": "2"})
    assert anchor_before_time(without_times, 1.0) is None
    cut = tmp_path / "cut.ts"
    whole = write_numbered_clip(tmp_path / "clip.ts", 60, options={"g": "20", "bf": "0"})
    cut.write_bytes(whole.read_bytes()[188 * 30 :])
    assert anchor_before_time(cut, 1.5) is None


def test_seams() -> None:
    assert seams_of(0.0, 10.0, 4.0) == [5.0]
    assert seams_of(1.0, 9.0, 3.0) == [4.0, 7.0]
    assert seams_of(0.0, 5.0, 4.0) == seams_of(0.0, None, 4.0) == []


def test_assignments_are_the_best_there_are() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        rows, columns = random.integers(1, 5, 2)
        gains = random.random((rows, columns)).round(1)
        wide = gains if rows <= columns else gains.T
        best = max(
            sum(wide[row, column] for row, column in enumerate(order))
            for order in permutations(range(wide.shape[1]), wide.shape[0])
        )
        pairs = assign(gains)
        assert len(pairs) == min(rows, columns)
        assert sum(gains[pair] for pair in pairs) == pytest.approx(best)
