"""``maskstream index search``, ``export``, ``sql`` and ``compact``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from maskstream.pipeline.archive.search import Index
from maskstream.pipeline.cli.main import main
from tests.pipeline.archive.synthetic import Made, add_concept, add_video, add_videos, create
from tests.pipeline.clips import numbered_image, write_clip


@pytest.fixture
def url(tmp_path: Path) -> str:
    storage = create(str(tmp_path / "index"))
    add_concept(storage, "dog", [1.0, 0.0])
    add_videos(storage, range(4))
    return storage.url


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["index", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_options_are_fields_of_the_query(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--min-duration-s", "1", "--after", "0:02", "--before", "0:00:09.5"]
    words += ["--region", "0,0 0.9,0 0.9,1 0,1", "--region-relation", "entered"]
    words += ["--beside", "person@2.5", "--without", "red car@any", "--order", "start"]
    code, out, _ = run("search", url, "dog", *words, "--format", "json", capsys=capsys)
    assert code == 0
    with Index(url) as index:
        hits = index.search(
            "dog",
            min_duration_s=1,
            after_s=2,
            before_s=9.5,
            region={"polygon": [(0, 0), (0.9, 0), (0.9, 1), (0, 1)], "relation": "entered"},
            beside=[{"concept": "person", "within_s": 2.5}],
            without=[{"concept": "red car", "within_s": None}],
            order="start",
        ).hits
        assert [(one["video_id"], one["object_id"]) for one in records(out)] == [
            (hit.video_id, hit.object_id) for hit in hits
        ]
        number = index.count("dog", min_at_once=2)
    code, out, _ = run("search", url, "dog", "--min-at-once", "2", "--count", capsys=capsys)
    assert (code, out) == (0, f"{number}\n")


def test_a_table_goes_on_page_by_page(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("search", url, "--limit", "20", capsys=capsys)
    assert code == 0
    assert out.splitlines()[0].split()[:3] == ["VIDEO", "CONCEPT", "OBJECT"]
    assert len(out.splitlines()) == 21
    assert "20 masklets in 4 of 4 videos that were looked at" in err
    cursor = err.split("--cursor ")[1].strip()
    code, out, err = run("search", url, "--limit", "20", "--cursor", cursor, capsys=capsys)
    assert len(out.splitlines()) == 13
    assert "--cursor" not in err


def test_what_is_wrong_is_told_in_one_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "none")
    for words, code, text in (
        (["search", url, "cat", "--checkpoint", "tiny"], 2, "is not the checkpoint"),
        (["search", url, "dog", "--query", '{"colour": "red"}'], 2, "unknown key 'colour'"),
        (["search", url, "dog", "--cursor", "x"], 2, "cursor"),
        (["search", nowhere, "dog"], 1, "is no index"),
        (["sql", url, "DROP VIEW tracks"], 2, "one SELECT is run"),
        (["compact", nowhere], 1, "is no index"),
        (["export", url, "dog", "--to", "csv", "--out", f"{nowhere}/a/b"], 2, "no folder"),
    ):
        told = run(*words, capsys=capsys)
        assert (told[0], told[1]) == (code, "")
        assert text in told[2]
    code, _, err = run("search", url, "dogs", capsys=capsys)
    assert code == 1
    # The checkpoint of this index, "none", is not there.
    assert "new words are compared letter by letter" in err
    assert "'dogs' is not indexed; nearest: 'dog' (0.86)" in err


def test_statements_are_run(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = "SELECT name, recorded_at FROM videos ORDER BY name LIMIT 2"
    code, out, _ = run("sql", url, text, "--format", "json", capsys=capsys)
    assert code == 0
    assert records(out)[0] == {"name": "000000.mp4", "recorded_at": "2026-03-01T22:00:00+00:00"}
    code, out, _ = run("sql", url, text, capsys=capsys)
    assert [line.split()[0] for line in out.splitlines()] == ["name", "000000.mp4", "000001.mp4"]


def test_hits_are_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip, [numbered_image(number) for number in range(60)], fps=10)
    storage = create(str(tmp_path / "index"))
    made = Made(num_frames=60, max_frames=20, num_masklets=3, width=80, height=48)
    add_video(storage, 0, made, source=str(clip))
    for kind, name in (
        ("json", "a.json"),
        ("csv", "a.csv"),
        ("parquet", "a.parquet"),
        ("coco", "coco.json"),
        ("youtube-vis", "vis.json"),
        ("sheet", "sheet.jpg"),
        ("clips", "clips"),
        ("fiftyone", "fiftyone"),
    ):
        out = tmp_path / name
        words = ["export", storage.url, "--to", kind, "--out", str(out), "--limit", "2"]
        assert run(*words, capsys=capsys)[0] == 0
        assert out.exists()
        code, _, err = run(*words, capsys=capsys)
        assert code == 2
        assert "--overwrite" in err
        assert run(*words, "--overwrite", capsys=capsys)[0] == 0
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 2
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 2


def test_an_index_is_compacted(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("compact", url, "--grace-s", "0", capsys=capsys)
    assert code == 0
    assert out.startswith("4 passes merged, 0 left out; 4 files of ")
    code, out, _ = run("search", url, "--count", capsys=capsys)
    assert out == "32\n"
