"""Sinks: finished, readable files whatever happens; nothing half-done under a final name."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from maskstream.core.errors import InputError, OutputError, SourceError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks import (
    FORMATS,
    JsonlSink,
    OverlaySink,
    ResultSpool,
    VideoWriter,
    open_sinks,
)
from maskstream.pipeline.sinks.overlay import object_colour
from maskstream.pipeline.sources import ArraySource, open_source
from tests.pipeline.clips import number_in, numbered_image, write_numbered_clip
from tests.pipeline.frame_results import make_result

NUM_FRAMES = 12


@pytest.fixture
def source() -> ArraySource:
    return ArraySource([numbered_image(i) for i in range(NUM_FRAMES)], fps=10, name="clip.mp4")


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """Writes past 30 kB of any file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _results(indices: range = range(NUM_FRAMES)) -> list[FrameResult]:
    """Object 0 on all frames, object 1 on every third, as two concepts."""
    return [
        make_result(
            index,
            [0, 1] if index % 3 == 0 else [0],
            pts_s=index / 10,
            labels=["red circle", "蓝 square"] if index % 3 == 0 else ["red circle"],
        )
        for index in indices
    ]


def _read_lines(path: Path) -> list[FrameResult]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [FrameResult.from_record(json.loads(line)) for line in lines]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_formats_of_a_run(tmp_path: Path, source: ArraySource) -> None:
    with open_sinks(tmp_path / "out" / "deep", FORMATS, source) as sinks:
        for result in _results():
            sinks.write(result)
        assert "results.jsonl" not in _names(tmp_path / "out" / "deep")
    assert {path.name for path in sinks.paths} == _names(tmp_path / "out" / "deep")
    assert _names(tmp_path / "out" / "deep") == {
        "results.jsonl",
        "coco.json",
        "youtube_vis.json",
        "overlay.mp4",
    }


def test_jsonl_holds_the_results(tmp_path: Path, source: ArraySource) -> None:
    with open_sinks(tmp_path, ["jsonl"], source) as sinks:
        for result in _results():
            sinks.write(result)
            lines = (tmp_path / "results.jsonl.part").read_text(encoding="utf-8")
            assert lines.endswith("\n")
            assert lines.count("\n") == result.frame_index + 1
    for before, after in zip(_results(), _read_lines(tmp_path / "results.jsonl"), strict=True):
        assert after.obj_ids.tolist() == before.obj_ids.tolist()
        assert after.labels == before.labels
        assert np.array_equal(after.masks, before.masks)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_read_by_pycocotools(tmp_path: Path, source: ArraySource) -> None:
    with open_sinks(tmp_path, ["coco"], source) as sinks:
        for result in _results():
            sinks.write(result)
    coco = COCO(str(tmp_path / "coco.json"))
    assert coco.getImgIds() == list(range(NUM_FRAMES))
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {
        1: "red circle",
        2: "蓝 square",
    }
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 16
    assert min(a["id"] for a in annotations) == 1
    for annotation in annotations:
        result = make_result(annotation["image_id"], [annotation["track_id"]])
        assert np.array_equal(coco.annToMask(annotation), result.masks[0])
        x, y, width, height = annotation["bbox"]
        assert (width, height, annotation["area"]) == (12, 10, 120)
        assert result.masks[0][round(y), round(x)]
    assert coco.loadImgs([7])[0]["pts_s"] == pytest.approx(0.7)


def test_youtube_vis_follows_tracks(tmp_path: Path, source: ArraySource) -> None:
    with open_sinks(tmp_path, ["ytvis"], source) as sinks:
        for result in _results(range(4, NUM_FRAMES)):
            sinks.write(result)
    data = json.loads((tmp_path / "youtube_vis.json").read_text(encoding="utf-8"))
    (video,) = data["videos"]
    assert video["frame_indices"] == list(range(4, NUM_FRAMES))
    assert video["length"] == len(video["file_names"]) == 8
    first, second = data["annotations"]
    assert (first["track_id"], second["track_id"]) == (0, 1)
    assert None not in first["segmentations"]
    visible = [position for position, rle in enumerate(second["segmentations"]) if rle]
    assert [video["frame_indices"][position] for position in visible] == [6, 9]
    assert [box is not None for box in second["bboxes"]] == [i in visible for i in range(8)]
    assert [area for area in second["areas"] if area] == [120, 120]
    assert second["score"] == pytest.approx(0.9)
    assert {c["id"]: c["name"] for c in data["categories"]}[second["category_id"]] == "蓝 square"


def test_a_run_without_frames_gives_valid_files(tmp_path: Path, source: ArraySource) -> None:
    with open_sinks(tmp_path, FORMATS, source) as sinks:
        pass
    assert json.loads((tmp_path / "coco.json").read_text())["annotations"] == []
    assert json.loads((tmp_path / "youtube_vis.json").read_text())["annotations"] == []
    assert (tmp_path / "results.jsonl").read_text() == ""
    assert tmp_path / "overlay.mp4" not in sinks.paths
    assert _names(tmp_path) == {"results.jsonl", "coco.json", "youtube_vis.json"}


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_the_overlay_keeps_the_timing(tmp_path: Path, name: str, in_order: bool) -> None:
    ticks = [500 + 10 * i + (6 if i % 4 == 1 else 0) for i in range(30)]
    clip = write_numbered_clip(tmp_path / name, 30, ticks=ticks, options={"g": "8", "bf": "2"})
    order = range(5, 25) if in_order else [*range(15, 25), *range(14, 4, -1), 5]
    with (
        open_source(clip) as video,
        open_sinks(tmp_path / "out", ["overlay"], video, in_order=in_order) as sinks,
    ):
        for index in order:
            sinks.write(FrameResult.empty(index, None, (48, 80)))
    with open_source(tmp_path / "out" / "overlay.mp4") as overlay:
        frames = list(overlay)
    assert len(frames) == 20
    expected = [(ticks[i] - ticks[5]) / 300 for i in range(5, 25)]
    assert [frame.pts_s for frame in frames] == pytest.approx(expected, abs=2e-3)
    assert [number_in(frame.image) for frame in frames] == list(range(5, 25))


@pytest.mark.parametrize(("width", "height"), [(81, 47), (33, 48), (2, 2), (1, 1)])
def test_overlays_of_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    pictures = [np.full((height, width, 3), 40 * i, np.uint8) for i in range(4)]
    with open_sinks(tmp_path, ["overlay"], ArraySource(pictures)) as sinks:
        for index in range(4):
            sinks.write(FrameResult.empty(index, None, (height, width)))
    with open_source(tmp_path / "overlay.mp4") as overlay:
        frames = list(overlay)
    assert [frame.image.shape for frame in frames] == [
        (height + height % 2, width + width % 2, 3)
    ] * 4
    assert [frame.image[0, 0, 1] for frame in frames] == pytest.approx([0, 40, 80, 120], abs=3)
    # Without a time of their own, pictures are shown 25 a second.
    assert [frame.pts_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12])


def test_overlay_colours_come_back(tmp_path: Path) -> None:
    colours = [(220, 30, 40), (20, 200, 60), (30, 60, 230), (128, 128, 128)]
    writer = VideoWriter(tmp_path / "clip.mp4", 64, 64, None)
    for colour in colours:
        writer.write(np.full((64, 64, 3), colour, np.uint8), None)
    assert writer.finish()
    with open_source(tmp_path / "clip.mp4") as video:
        seen = [frame.image[32, 32] for frame in video]
    assert np.array(seen) == pytest.approx(np.array(colours), abs=5)


def test_the_overlay_shows_the_masks(tmp_path: Path) -> None:
    pictures = [np.zeros((240, 400, 3), np.uint8)] * 3
    with open_sinks(tmp_path, ["overlay"], ArraySource(pictures)) as sinks:
        for index in range(3):
            result = make_result(index, [1], size=(240, 400))
            result.masks[0, 60:160, 100:220] = True
            sinks.write(result)
    with open_source(tmp_path / "overlay.mp4") as overlay:
        pixel = overlay.read(2).image[110, 160]
    assert pixel == pytest.approx(np.array(object_colour(1)) * 0.45, abs=8)


class _StopError(Exception):
    pass


@pytest.mark.parametrize("error", [_StopError, KeyboardInterrupt, SourceError])
@pytest.mark.parametrize("in_order", [True, False])
def test_files_are_finished_when_the_run_breaks(
    tmp_path: Path, source: ArraySource, error: type[BaseException], in_order: bool
) -> None:
    def run() -> None:
        with open_sinks(tmp_path, FORMATS, source, in_order=in_order) as sinks:
            for result in _results(range(5)):
                sinks.write(result)
            raise error("stop")

    with pytest.raises(error, match="stop"):
        run()
    assert _names(tmp_path) == {"results.jsonl", "coco.json", "youtube_vis.json", "overlay.mp4"}
    assert len(_read_lines(tmp_path / "results.jsonl")) == 5
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 5
    assert json.loads((tmp_path / "youtube_vis.json").read_text())["videos"][0]["length"] == 5
    with open_source(tmp_path / "overlay.mp4") as overlay:
        assert overlay.count_frames() == 5


def _noise_result(index: int) -> FrameResult:
    """A mask that does not compress: 10 kB a frame."""
    result = make_result(index, [0], size=(160, 160))
    result.masks[:] = np.random.default_rng(index).random((1, 160, 160)) > 0.5
    return result


@pytest.mark.usefixtures("file_size_limit")
@pytest.mark.parametrize("format_name", ["jsonl", "coco", "ytvis", "overlay"])
def test_a_full_disk(tmp_path: Path, format_name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 160, 160, 3)).astype(np.uint8)
    source = ArraySource(noise)

    def run() -> None:
        with open_sinks(tmp_path, [format_name], source) as sinks:
            for index in range(40):
                sinks.write(_noise_result(index))

    with pytest.raises(OutputError, match="cannot be written"):
        run()
    left = _names(tmp_path)
    if format_name == "jsonl":
        assert left == {"results.jsonl.part"}
        assert 1 <= len(_read_lines(tmp_path / "results.jsonl.part")) < 40
    else:
        assert not {name for name in left if not name.startswith(".")} - (
            {"coco.json", "youtube_vis.json"} if format_name != "overlay" else set()
        )
    for path in tmp_path.glob("*.json"):
        json.loads(path.read_text())


def test_a_failed_sink_does_not_harm_the_others(tmp_path: Path, source: ArraySource) -> None:
    (tmp_path / "coco.json").mkdir()  # a folder in the way: the rename at the end fails

    def run() -> None:
        with open_sinks(tmp_path, FORMATS, source) as sinks:
            for result in _results():
                sinks.write(result)

    with pytest.raises(OutputError, match=r"coco\.json cannot be written"):
        run()
    assert not list(tmp_path.glob("*.part"))
    assert len(_read_lines(tmp_path / "results.jsonl")) == NUM_FRAMES
    assert json.loads((tmp_path / "youtube_vis.json").read_text())["videos"]


def test_folders_that_cannot_be_written(tmp_path: Path, source: ArraySource) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        open_sinks(tmp_path / "file", FORMATS, source)
    with pytest.raises(OutputError, match="cannot be written"):
        open_sinks(tmp_path / "file" / "deeper", FORMATS, source)
    with pytest.raises(OutputError, match="cannot be written"):
        JsonlSink(tmp_path / "missing" / "results.jsonl")
    with pytest.raises(OutputError, match="cannot be written"):
        VideoWriter(tmp_path / "missing" / "overlay.mp4", 4, 4, None)
    with pytest.raises(OutputError, match="cannot be written"):
        ResultSpool(tmp_path / "missing")


def test_a_sink_that_cannot_be_made_leaves_nothing(tmp_path: Path, source: ArraySource) -> None:
    (tmp_path / "overlay.mp4.part").mkdir()
    with pytest.raises(OutputError, match=r"overlay\.mp4 cannot be written"):
        open_sinks(tmp_path, FORMATS, source)
    assert _names(tmp_path) == {"overlay.mp4.part"}


def test_discard_leaves_nothing(tmp_path: Path, source: ArraySource) -> None:
    sinks = open_sinks(tmp_path, FORMATS, source)
    for result in _results():
        sinks.write(result)
    sinks.discard()
    sinks.close()
    assert _names(tmp_path) == set()
    assert sinks.paths == []


def test_closed_sinks_refuse_more(tmp_path: Path, source: ArraySource) -> None:
    for format_name in FORMATS:
        sinks = open_sinks(tmp_path, [format_name], source)
        sinks.write(make_result(0))
        sinks.close()
        sinks.close()
        with pytest.raises(OutputError, match="closed"):
            sinks.write(make_result(1))


def test_unknown_formats(tmp_path: Path, source: ArraySource) -> None:
    with pytest.raises(InputError, match=r"unknown format \['avi'\]; choose from jsonl"):
        open_sinks(tmp_path, ["jsonl", "avi"], source)
    with pytest.raises(InputError, match="unknown format none"):
        open_sinks(tmp_path, [], source)


def test_an_overlay_written_at_once_needs_ascending_frames(
    tmp_path: Path, source: ArraySource
) -> None:
    sink = OverlaySink(tmp_path / "overlay.mp4", source)
    sink.write(make_result(3))
    with pytest.raises(OutputError, match="frame 3 comes after frame 3"):
        sink.write(make_result(3))
    sink.write(make_result(7))
    sink.close()
    with open_source(tmp_path / "overlay.mp4") as overlay:
        assert overlay.count_frames() == 2


def test_the_spool_gives_results_back_in_order(tmp_path: Path) -> None:
    spool = ResultSpool(tmp_path)
    for index in [3, 2, 9, 1, 2]:
        spool.write(make_result(index, [5, 2] if index == 2 else [2], pts_s=index / 10))
    assert _names(tmp_path) == set()
    results = list(spool.results())
    assert [result.frame_index for result in results] == [1, 2, 3, 9]
    assert results[1].obj_ids.tolist() == [2, 5]
    assert np.array_equal(results[3].masks, make_result(9, [2]).masks)
    assert spool.track_ids() == [2, 5]
    assert [item.frame_index for item in spool.objects_of_track(2)] == [1, 2, 3, 9]
    spool.close()
    spool.close()


def test_results_replace_those_of_an_earlier_run(tmp_path: Path, source: ArraySource) -> None:
    for num_frames in (8, 3):
        with open_sinks(tmp_path, ["jsonl", "coco"], source) as sinks:
            for result in _results(range(num_frames)):
                sinks.write(result)
    data: dict[str, Any] = json.loads((tmp_path / "coco.json").read_text())
    assert len(data["images"]) == len(_read_lines(tmp_path / "results.jsonl")) == 3
