"""An index over time: what is added and removed, what it says of itself, whether it is sound."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from maskstream.core.errors import ArchiveError, InputError
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.removing import remove_videos
from maskstream.pipeline.archive.indexing.status import status_of
from maskstream.pipeline.archive.indexing.verifying import verify_index
from maskstream.pipeline.archive.plan.indexed import compare_sources
from maskstream.pipeline.cli.main import main
from tests.pipeline import scene
from tests.pipeline.archive.indexes import all_files, build, failures, manifests, rows_of
from tests.pipeline.clips import write_numbered_clip

GOP = {"g": "8"}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        write_numbered_clip(folder / f"{number}.mp4", 20 + number, options=GOP)
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture
def index(videos: Path, tmp_path: Path) -> Path:
    build(videos, tmp_path / "index", "dog")
    return tmp_path / "index"


def test_without_archives_a_concept_is_added_to_all_videos(videos: Path, index: Path) -> None:
    before = all_files(index)
    (videos / "2.mp4").unlink()
    result = build((), index, "cat")
    assert (result.num_done, result.counts.failed) == (2, 1)
    after = all_files(index)
    assert {name: after[name] for name in before} == before
    assert failures(index)[0].reason == f"{videos}/2.mp4 does not exist"
    assert status_of(Storage(str(index))).incomplete == {"cat": 1}


def test_removing_a_video_leaves_no_row_of_it(videos: Path, index: Path) -> None:
    build((), index, "cat")
    gone, kept, third = {one.video_id: one for one in manifests(index)}.values()
    storage = Storage(str(index))
    assert remove_videos(storage, [gone.source, str(videos / "bad.mp4")]) == 2
    assert {one.video_id for one in manifests(index)} == {kept.video_id, third.video_id}
    assert not [name for name in all_files(index) if gone.video_id in name]
    assert failures(index) == []
    assert rows_of(index, kept)
    with pytest.raises(InputError, match="the index holds nothing of"):
        remove_videos(storage, [kept.video_id, gone.source])
    assert {one.video_id for one in manifests(index)} == {kept.video_id, third.video_id}
    assert build(videos, index).num_done == 1  # it comes back with all concepts at once
    assert verify_index(storage).faults == []


def test_status(videos: Path, index: Path) -> None:
    build(videos, index, "cat", must_stop=lambda: True)
    status = status_of(Storage(str(index)))
    assert status.concepts == ["cat", "dog"]
    assert (status.num_videos, status.num_passes, status.num_frames) == (3, 3, 63)
    assert status.incomplete == {"cat": 3}
    assert [one.source for one in status.failures] == [str(videos / "bad.mp4")]
    assert status.builder is None
    assert status.num_bytes == sum(
        entry.size_bytes for one in manifests(index) for entry in one.files
    )


def test_files_that_changed_went_or_moved(videos: Path, index: Path) -> None:
    write_numbered_clip(videos / "0.mp4", 9, options=GOP)
    (videos / "1.mp4").unlink()
    (videos / "other").mkdir()
    shutil.move(videos / "2.mp4", videos / "other" / "name.mp4")
    found = compare_sources(Storage(str(index)), [str(videos)])
    assert found.changed == [str(videos / "0.mp4")]
    assert sorted(found.missing) == [str(videos / "1.mp4"), str(videos / "2.mp4")]
    assert found.moved == {str(videos / "2.mp4"): str(videos / "other" / "name.mp4")}


def test_verify_finds_what_is_wrong(index: Path) -> None:
    storage = Storage(str(index))
    whole = verify_index(storage)
    assert whole.faults == []
    assert whole.num_files == sum(len(one.files) for one in manifests(index))
    tables = sorted((index / "videos").rglob("*observations.parquet"))
    tables[0].unlink()
    tables[1].write_bytes(tables[1].read_bytes()[:-1])
    damaged = bytearray(tables[2].read_bytes())
    damaged[20] ^= 1
    tables[2].write_bytes(damaged)
    faults = verify_index(storage).faults
    assert [" ".join(one.split()[1:3]) for one in faults] == ["is missing", *faults_of(tables[1])]


def faults_of(cut: Path) -> list[str]:
    return [f"has {cut.stat().st_size}", "is damaged:"]


# Command lines


def test_a_command_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").mkdir()
    clip = scene.write_scene(tmp_path / "videos" / "clip.mp4", 4)
    index = str(tmp_path / "index")
    here = ("--workers", "0")
    told = ["index", "build", str(clip), "--text", "red circle", "--out", index, *here]
    metrics = tmp_path / "metrics.prom"
    assert main([*told, "--metrics", str(metrics)]) == 0
    counters = dict(
        line.split() for line in metrics.read_text().splitlines() if not line.startswith("#")
    )
    assert counters == {
        'maskstream_index_files{state="indexed"}': "0",
        'maskstream_index_files{state="to_do"}': "1",
        'maskstream_index_files{state="failed"}': "0",
        'maskstream_index_jobs_total{ending="done"}': "1",
        'maskstream_index_jobs_total{ending="failed"}': "0",
        "maskstream_index_frames_total": "4",
        "maskstream_index_chunks_total": "1",
    }
    assert main([*told, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["event"] for one in events] == ["planned", "end"]
    assert events[0]["indexed"] == 1
    assert main(["index", "add", index, "--text", "blue square", *here]) == 0
    assert {concept for one in manifests(index) for concept in one.concepts} == {
        "red circle",
        "blue square",
    }
    assert main(["index", "verify", index]) == 0
    assert "0 faults" in capsys.readouterr().out
    assert main(["index", "status", index, "--sources"]) == 0
    assert "concepts    blue square, red circle" in capsys.readouterr().out
    assert main(["index", "remove", index, str(clip)]) == 0
    assert manifests(index) == []
    assert main([*told, "--fps", "3"]) == 1
    assert "was made with sampling" in capsys.readouterr().err
    assert main(["index", "status", str(tmp_path / "no")]) == 1
    assert "is no index" in capsys.readouterr().err
    with pytest.raises(ArchiveError):
        status_of(Storage(str(tmp_path)))
