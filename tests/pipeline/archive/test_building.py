"""Builds that are stopped and gone on with, later additions, files that change, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskstream.core.errors import (
    ArchiveError,
    IndexBusyError,
    IndexFormatError,
    IndexMismatchError,
    InputError,
    PromptError,
)
from maskstream.pipeline.archive.format.records import IndexSettings
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.building import BuildRules
from maskstream.pipeline.archive.indexing.lock import BuildLock
from maskstream.pipeline.archive.indexing.tools import ModelTools
from maskstream.pipeline.video.model import VideoModel
from tests.pipeline import scene
from tests.pipeline.archive.indexes import (
    SETTINGS,
    all_files,
    build,
    failures,
    manifests,
    read_table,
    reference_rows,
    rows_of,
)
from tests.pipeline.archive.scripted import ScriptedTools
from tests.pipeline.clips import numbered_image, write_clip, write_numbered_clip
from tests.pipeline.scripted import BAD_WORD

GOP = {"g": "8"}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mkv", "c.mp4"):
        write_numbered_clip(folder / name, 40, options=GOP)
    return folder


def after(num_chunks: int) -> Callable[[], bool]:
    """Asks to stop after so many chunks."""
    asked = iter(range(10_000))
    return lambda: next(asked) >= num_chunks


def test_a_build_that_is_stopped_goes_on_to_the_same_bytes(videos: Path, tmp_path: Path) -> None:
    build(videos, tmp_path / "whole", "dog")
    num_builds = 0
    while True:
        num_builds += 1
        result = build(videos, tmp_path / "parts", "dog", must_stop=after(3), in_hand=2)
        assert len(manifests(tmp_path / "parts")) == 3 - len(result.left)
        if not result.left:
            break
    assert num_builds > 2
    assert all_files(tmp_path / "parts") == all_files(tmp_path / "whole")


def test_the_real_model_goes_on_to_the_bit(tmp_path: Path, model: VideoModel) -> None:
    tools = ModelTools(model, None)
    images = [scene.image(number) for number in range(24)]
    clip = write_clip(tmp_path / "clip.mp4", images, options={"crf": "10", "g": "6"})
    other = write_clip(tmp_path / "other.mp4", images[:8], options={"crf": "10"})
    texts = ("red circle", "blue square")
    settings = SETTINGS.model_copy(update={"chunk_s": 0.3})
    stopped = build(
        tmp_path, tmp_path / "index", *texts, settings=settings, tools=tools, must_stop=after(2)
    )
    assert stopped.left
    build(tmp_path, tmp_path / "index", *texts, settings=settings, tools=tools, in_hand=2)
    for manifest, path in zip(manifests(tmp_path / "index"), (clip, other), strict=True):
        expected = reference_rows(path, texts, tools, video_id=manifest.video_id)
        assert {row["concept"] for row in expected} == set(texts)
        assert rows_of(tmp_path / "index", manifest) == expected
        tracks = read_table(tmp_path / "index", manifest, "tracks").to_pylist()
        assert sorted(one["concept"] for one in tracks) == sorted(texts)


def test_a_concept_that_is_added_leaves_all_files_as_they_are(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    build(videos, index, "dog")
    before = all_files(index)
    result = build(videos, index, "cat")
    assert result.num_done == 3
    after_it = all_files(index)
    assert {name: after_it[name] for name in before} == before
    for first, second in _by_video(index):
        assert (first.concepts, second.concepts) == (["dog"], ["cat"])
        assert second.first_object_id == first.last_object_id + 1
        assert {row["concept"] for row in rows_of(index, second)} == {"cat"}
        assert {entry.table for entry in second.files} == {"videos", "tracks", "observations"}


def _by_video(index: Path) -> list[tuple[Any, Any]]:
    found = sorted(manifests(index), key=lambda one: (one.source, one.first_object_id))
    return list(zip(found[::2], found[1::2], strict=True))


def test_a_file_that_has_changed_is_indexed_again(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    build(videos, index, "dog")
    write_numbered_clip(videos / "a.mp4", 16, options=GOP)
    os.utime(videos / "b.mkv", (1, 1))  # a new date is no change
    result = build(videos, index, "dog")
    assert (result.counts.indexed, result.counts.changed, result.num_done) == (2, 1, 1)
    assert [one.num_frames for one in manifests(index)] == [16, 40, 40]
    [first, *_] = manifests(index)
    names = {entry.name for entry in first.files}
    assert names < set(os.listdir(index / "videos" / first.video_id))
    assert all(
        name.startswith(first.pass_key) for name in os.listdir(index / "videos" / first.video_id)
    )


def test_what_failed_is_tried_again_when_asked_or_when_it_has_changed(
    videos: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    (videos / "a.mp4").write_bytes(b"not yet")
    build(videos, index, "dog")
    assert len(failures(index)) == 1
    result = build(videos, index, "dog", rules=BuildRules(retry_failures=True))
    assert (result.counts.failed, result.counts.failed_before) == (1, 0)
    write_numbered_clip(videos / "a.mp4", 8, options=GOP)
    assert build(videos, index, "dog").num_done == 1
    assert failures(index) == []


def test_shots(tmp_path: Path) -> None:
    dark, light = numbered_image(0), numbered_image(1023)
    dark[24:], light[24:] = 20, 230
    clip = write_clip(tmp_path / "clip.mp4", [dark] * 20 + [light] * 20 + [dark] * 20)
    for reset in (False, True):
        index = tmp_path / f"index-{reset}"
        settings = SETTINGS.model_copy(update={"reset_at_cuts": reset})
        build(clip, index, "dog", settings=settings)
        [manifest] = manifests(index)
        shots = read_table(index, manifest, "shots").to_pylist()
        assert [(one["first_frame"], one["last_frame"]) for one in shots] == [
            (0, 19),
            (20, 39),
            (40, 59),
        ]
        tracks = read_table(index, manifest, "tracks").to_pylist()
        spans = [(one["object_id"], one["first_frame"], one["last_frame"]) for one in tracks]
        assert spans == ([(0, 0, 19), (1, 20, 39), (2, 40, 59)] if reset else [(0, 0, 59)])


# Bad input


def test_an_index_keeps_its_settings(videos: Path, tmp_path: Path) -> None:
    build(videos / "a.mp4", tmp_path / "index", "dog")
    before = all_files(tmp_path / "index")
    for changed, message in (
        ({"checkpoint": "1" * 64}, "another checkpoint"),
        ({"score_threshold": 0.5}, "score_threshold None, not 0.5"),
    ):
        settings = SETTINGS.model_copy(update=changed)
        with pytest.raises(IndexMismatchError, match=message):
            build(videos, tmp_path / "index", "dog", settings=settings)
    assert all_files(tmp_path / "index") == before


def test_an_index_of_another_version(videos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    build(videos / "a.mp4", index, "dog")
    head = json.loads((index / "index.json").read_text())
    head["format_version"] = 99
    (index / "index.json").write_text(json.dumps(head, indent=1) + "\n")
    with pytest.raises(IndexFormatError, match="is an index of version 99"):
        build(videos, index, "dog")


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ((), InputError, "give --text"),
        (("",), InputError, "give it words"),
        ((" dog",), InputError, "give it words"),
        ((BAD_WORD,), PromptError, "nobody knows"),
    ],
)
def test_concepts_that_cannot_be(
    videos: Path, tmp_path: Path, texts: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(videos, tmp_path / "index", *texts)
    assert not (tmp_path / "index" / "lock.json").exists()
    assert build(videos / "a.mp4", tmp_path / "index", "dog").num_done == 1


def test_archives_that_cannot_be(videos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("source,colour\na.mp4,red\n")
    empty = tmp_path / "empty.csv"
    empty.write_text("source\n,\n".replace(",", ""))
    for archive, message in (
        (tmp_path / "nowhere", "nowhere does not exist"),
        (f"{videos}/*.avi", "no file matches"),
        (bad, "unknown columns 'colour'"),
        ("nokind://there/x.mp4", "nokind"),
    ):
        with pytest.raises(InputError, match=message):
            build(archive, tmp_path / "index", "dog")
    assert manifests(tmp_path / "index") == []


def test_manifests_name_files(videos: Path, tmp_path: Path) -> None:
    text = videos / "list.txt"
    text.write_text(f"# all\na.mp4\n{videos}/b.mkv\n\nnot there.mp4\n")
    table = pa.table({"source": ["c.mp4"], "recorded_at": ["2026-05-01T10:00:00+02:00"]})
    pq.write_table(table, videos / "list.parquet")
    index = tmp_path / "index"
    build([str(text), str(videos / "list.parquet")], index, "dog")
    assert [Path(one.source).name for one in manifests(index)] == ["a.mp4", "b.mkv", "c.mp4"]
    [failure] = failures(index)
    assert (failure.stage, failure.reason) == ("open", f"{videos}/not there.mp4 does not exist")
    [video] = read_table(index, manifests(index)[2], "videos").to_pylist()
    assert video["recorded_at"].isoformat() == "2026-05-01T08:00:00+00:00"
    [track] = read_table(index, manifests(index)[2], "tracks").to_pylist()
    assert track["started_at"] == video["recorded_at"]


def test_a_second_build_is_refused_or_waits(videos: Path, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "index"))
    with BuildLock(storage):
        with pytest.raises(IndexBusyError, match=f"process {os.getpid()} on .* works on"):
            build(videos, tmp_path / "index", "dog")
        waiting = threading.Thread(
            target=build,
            args=(videos, tmp_path / "index", "dog"),
            kwargs={"rules": BuildRules(wait_s=120)},
        )
        waiting.start()
    waiting.join(120)
    assert len(manifests(tmp_path / "index")) == 3


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    program = (
        "import os, sys, signal\n"
        "from maskstream.pipeline.archive.format.storage import Storage\n"
        "from maskstream.pipeline.archive.indexing.lock import BuildLock\n"
        "lock = BuildLock(Storage(sys.argv[1]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert (tmp_path / "lock.json").exists()
    with BuildLock(Storage(str(tmp_path))):
        pass
    assert not (tmp_path / "lock.json").exists()


def test_the_lock_of_another_machine_counts_until_it_stands_still(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "number": 3}))
    storage = Storage(str(tmp_path))
    with BuildLock(storage, lease_s=0.5) as mine:
        assert "elsewhere" not in lock.read_text()
        assert not mine.is_lost


def test_a_folder_that_cannot_be_written(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArchiveError, match="cannot be"):
        build(videos, tmp_path / "file" / "index", "dog")


def test_any_store_will_do(videos: Path, tmp_path: Path) -> None:
    """Archive and index in memory, where nothing is renamed: the rows are those of a folder."""
    memory = Storage("memory://videos")
    for path in videos.iterdir():
        memory.write(path.name, path.read_bytes())
    build("memory://videos", "memory://index", "dog", settings=IndexSettings(checkpoint="0" * 64))
    build(videos, tmp_path / "index", "dog", settings=IndexSettings(checkpoint="0" * 64))
    found = [rows_of("memory://index", one) for one in manifests("memory://index")]
    expected = [rows_of(tmp_path / "index", one) for one in manifests(tmp_path / "index")]
    for rows in (*found, *expected):
        for row in rows:
            del row["video_id"]
    assert found == expected
    tools = ScriptedTools()
    assert tools.embed("dog") is None
