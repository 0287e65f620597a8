"""An archive of many kinds of files: the rows of a plain loop, and every fault told once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskstream.pipeline.archive.format.records import IndexSettings, Sampling, video_id_of
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.attempts import Attempts
from tests.pipeline.archive.archives import Archive, write_archive
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

TEXTS = ("red circle", "dog")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def index(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index")
    result = build(archive.folder, path, *TEXTS, in_hand=3)
    assert result.num_done == len(archive.num_frames)
    return path


def name_of(archive: Archive, source: str) -> str:
    return Path(source).relative_to(archive.folder).as_posix()


def test_rows_are_those_of_a_plain_loop_over_each_file(archive: Archive, index: Path) -> None:
    assert len(archive.num_frames) + len(archive.bad) >= 40
    found = manifests(index)
    assert {name_of(archive, one.source) for one in found} == set(archive.num_frames)
    for manifest in found:
        expected = reference_rows(
            Path(manifest.source), TEXTS, ScriptedTools(), video_id=manifest.video_id
        )
        assert rows_of(index, manifest) == expected, manifest.source


def test_every_frame_is_there_once(archive: Archive, index: Path) -> None:
    """By the number that is drawn into it; frames of a rotated video cannot be read."""
    for manifest in manifests(index):
        name = name_of(archive, manifest.source)
        num_frames = archive.num_frames[name]
        assert manifest.num_frames == num_frames, name
        for concept in TEXTS:
            rows = [row for row in rows_of(index, manifest) if row["concept"] == concept]
            assert [row["frame"] for row in rows] == list(range(num_frames)), name
            if name != "rotated.mp4":
                spelled = [round(1000 * row["score"]) for row in rows]
                assert spelled == list(range(num_frames)), name


def test_files_are_cut_into_chunks(index: Path) -> None:
    """Except where one is short, or cannot be."""
    chunks = [
        sum(entry.table == "observations" for entry in manifest.files)
        for manifest in manifests(index)
    ]
    assert sum(count >= 2 for count in chunks) > 20


def test_what_is_bad_is_in_the_failures_once_with_its_reason(archive: Archive, index: Path) -> None:
    found = failures(index)
    assert [name_of(archive, one.source) for one in found] == sorted(archive.bad)
    for failure in found:
        reason = archive.bad[name_of(archive, failure.source)]
        assert re.search(reason, failure.reason), failure
        stage = "decode" if "decoding" in reason else "open"
        assert (failure.stage, failure.attempts) == (stage, 1)


def test_no_notes_and_no_lock_are_left(index: Path) -> None:
    assert Attempts(Storage(str(index))).noted() == set()
    assert not (index / "lock.json").exists()
    failed = {one.video_id for one in failures(index)}
    assert {path.parent.name for path in index.rglob("*-state.bin")} <= failed


def test_a_second_build_changes_nothing(archive: Archive, index: Path) -> None:
    before = all_files(index)
    result = build(archive.folder, index, *TEXTS)
    assert result.counts.indexed == len(archive.num_frames)
    assert result.counts.failed_before == len(archive.bad)
    assert (result.num_done, result.num_failed, result.left) == (0, 0, [])
    assert all_files(index) == before


def test_the_same_files_whatever_is_in_hand(archive: Archive, index: Path, tmp_path: Path) -> None:
    build(archive.folder, tmp_path, *reversed(TEXTS))
    without_moments = {
        name: blob for name, blob in all_files(tmp_path).items() if "failures/" not in name
    }
    expected = {name: blob for name, blob in all_files(index).items() if "failures/" not in name}
    assert without_moments == expected


def test_tables_of_the_whole_video(archive: Archive, index: Path) -> None:
    manifest = next(one for one in manifests(index) if one.source.endswith("/h264.mp4"))
    [video] = read_table(index, manifest, "videos").to_pylist()
    assert (video["name"], video["num_frames"], video["fps"]) == ("h264.mp4", 24, 30.0)
    assert (video["width"], video["height"], video["codec"]) == (80, 48, "h264")
    assert video["concepts"] == sorted(TEXTS)
    assert video["duration_s"] == pytest.approx(0.8)
    tracks = read_table(index, manifest, "tracks").to_pylist()
    assert [(one["concept"], one["num_observations"]) for one in tracks] == [
        ("dog", 24),
        ("red circle", 24),
    ]
    [shot] = read_table(index, manifest, "shots").to_pylist()
    assert (shot["first_frame"], shot["last_frame"]) == (0, 23)
    assert manifest.video_id == video_id_of(manifest.source)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(every_nth=5), [0, 5, 10, 15, 20]),
        (Sampling(fps=10), [0, 3, 6, 9, 12, 15, 18, 21]),
        (Sampling(keyframes=True), [0, 8, 16]),
        (Sampling(start_s=0.25, end_s=0.5), [8, 9, 10, 11, 12, 13, 14]),
        (Sampling(every_nth=2, start_s=0.5), [16, 18, 20, 22]),
    ],
)
def test_sampling(tmp_path: Path, sampling: Sampling, expected: list[int]) -> None:
    clip = write_numbered_clip(
        tmp_path / "clip.mp4", 24, options={"g": "8", "keyint_min": "8", "sc_threshold": "0"}
    )
    build(
        clip, tmp_path / "index", "dog", settings=SETTINGS.model_copy(update={"sampling": sampling})
    )
    [manifest] = manifests(tmp_path / "index")
    rows = rows_of(tmp_path / "index", manifest)
    assert [row["frame"] for row in rows] == expected
    assert [round(1000 * row["score"]) for row in rows] == expected
    assert manifest.num_frames == len(expected)


def test_twenty_minutes_at_one_frame_a_second(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "long.mp4",
        [numbered_image(number % 1024) for number in range(2400)],
        fps=2,
        options={"g": "50"},
    )
    settings = IndexSettings(checkpoint="0" * 64, sampling=Sampling(fps=1), chunk_s=120)
    build(clip, tmp_path / "index", "dog", settings=settings)
    [manifest] = manifests(tmp_path / "index")
    expected = reference_rows(
        clip,
        ("dog",),
        ScriptedTools(),
        video_id=manifest.video_id,
        keeps=lambda frame: frame.index % 2 == 0,
    )
    assert len(expected) == manifest.num_frames == 1200
    assert rows_of(tmp_path / "index", manifest) == expected
    assert sum(entry.table == "observations" for entry in manifest.files) == 10
