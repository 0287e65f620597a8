"""Several sources in one ``maskstream segment``, the order of its options, and what it tells."""

from __future__ import annotations

import json
import re
import signal
from os import getpid, kill
from pathlib import Path

import pytest
from PIL import Image

from maskstream.pipeline.cli.main import main
from maskstream.pipeline.cli.progress import RunProgress
from maskstream.pipeline.cli.summary import RunSummary, print_summary
from tests.pipeline.cli.test_segment import Loader
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.frame_results import make_result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two videos, and a folder of two more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "week").mkdir()
    for name in ("a.mp4", "b.mp4", "week/day10.mp4", "week/day9.mkv"):
        write_numbered_clip(tmp_path / name, 3)
    (tmp_path / "week" / "notes.txt").write_text("no video")
    return tmp_path


def records(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def categories(folder: Path) -> list[str]:
    found = json.loads((folder / "coco.json").read_text(encoding="utf-8"))["categories"]
    assert [item["id"] for item in found] == list(range(1, len(found) + 1))
    return [item["name"] for item in found]


def test_one_after_the_other_with_one_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = Loader()
    command = ["segment", "a.mp4", "b.mp4", "week", "--text", "dog", "--format", "jsonl,coco"]
    assert main([*command, "--out", "results"], load=loader) == 0
    names = ["a-masks", "b-masks", "day10-masks", "day9-masks"]
    assert sorted(path.name for path in (here / "results").iterdir()) == names
    assert all(len(records(here / "results" / name)) == 3 for name in names)
    assert len(loader.made) == 1
    assert [what for what, *_ in loader.diary] == ["concept dog", *["reset", "concept dog"] * 3]
    heads = [line for line in capsys.readouterr().out.splitlines() if line.endswith(":")]
    assert heads == ["a.mp4:", "b.mp4:", "week/day9.mkv:", "week/day10.mp4:"]


def test_without_out_each_gets_a_folder_here(here: Path) -> None:
    command = ["segment", "a.mp4", "week", "--text", "dog", "--format", "jsonl"]
    assert main(command, load=Loader()) == 0
    made = {path.name for path in here.iterdir() if path.is_dir()} - {"week"}
    assert made == {"a-masks", "day9-masks", "day10-masks"}


def test_a_folder_with_pictures_is_one_source(here: Path) -> None:
    Image.new("RGB", (80, 48)).save(here / "week" / "1.png")
    command = ["segment", "week", "--text", "dog", "--format", "jsonl"]
    assert main(command, load=Loader()) == 0
    assert len(records(here / "week-masks")) == 1


def test_one_that_fails_does_not_stop_the_others(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "week" / "day9.mkv").write_text("no video")
    command = ["segment", "week", "missing.mp4", "a.mp4", "--text", "dog", "--format", "jsonl"]
    assert main(command, load=Loader()) == 1
    told = capsys.readouterr().err
    assert "day9.mkv cannot be read as a video" in told
    assert "missing.mp4 does not exist" in told
    assert len(records(here / "day10-masks")) == len(records(here / "a-masks")) == 3


def test_a_prompt_that_cannot_be_used_stops_at_once(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "a.mp4", "b.mp4", "--point", "7,7"], load=Loader()) == 2
    assert capsys.readouterr().err.count("--point 7,7") == 1


def test_ctrl_c_stops_all(here: Path) -> None:
    loader = Loader()
    loader.after_frame = lambda index: kill(getpid(), signal.SIGINT) if index == 1 else None
    command = ["segment", "a.mp4", "b.mp4", "--text", "dog", "--format", "jsonl"]
    assert main(command, load=loader) == 130
    assert len(records(here / "a-masks")) == 2
    assert not (here / "b-masks").exists()


def test_ids_and_labels_come_in_the_order_of_the_options(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["segment", "a.mp4", "--out", "out", "--box", "0.1,0.1,0.2,0.2", "--label", "ball"]
    command += ["--text", "dog", "--exemplar", "0,0,0.2,0.2", "--exemplar", "0.5,0,0.2,0.2"]
    command += ["--point", "0.5,0.5", "--text", "cat", "--point", "0.7,0.7", "--label", "ball"]
    assert main(command, load=Loader()) == 0
    objects = records(here / "out")[0]["objects"]
    assert isinstance(objects, list)
    labels = [item["label"] for item in objects]
    assert labels == ["ball", "dog", "visual", "visual", "object", "cat", "ball"]
    assert categories(here / "out") == ["ball", "dog", "visual", "object", "cat"]
    assert "ball" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "a"], "--label a: it names the object of the --point, --box or --mask before"),
        (["--text", "dog", "--label", "a"], "--label a: it names the object"),
        (["--point", "0,0", "--label", "a", "--label", "b"], "has a label already"),
        (["--point", "0,0", "--label", ""], "--label : text is empty"),
    ],
)
def test_labels_that_name_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["segment", "a.mp4", *arguments], load=Loader()) == 2
    assert message in capsys.readouterr().err


def test_what_found_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    summary = RunSummary()
    summary.ask_for_concept("--text red circle", 0)
    summary.ask_for_concept("--text [unicorn]", 7)
    summary.ask_for_object("--point 0.5,0.5", 0)
    summary.ask_for_object("--box 0,0,0.1,0.1", 9)
    summary.add(make_result(0))
    print_summary(summary, [], 1.0)
    told = [line for line in capsys.readouterr().out.splitlines() if "nothing found" in line]
    assert told == ["nothing found: --text [unicorn]", "nothing found: --box 0,0,0.1,0.1"]


def test_objects_without_a_detection_have_a_mean_score() -> None:
    summary = RunSummary()
    result = make_result(0, [0, 1])
    result.scores[1] = float("nan")
    summary.add(result)
    assert summary.objects[0].mean_score == pytest.approx(0.9)
    assert summary.objects[1].mean_score == pytest.approx(0.8)


def test_a_log_gets_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(20, tell_every_s=0.0) as progress:
        for index in range(3):
            progress.advance(make_result(index))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"3 of 20 frames, \d+\.\d fps, 1 object", lines[-1])


def test_doubtful_masks_are_told_in_the_table(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    command = ["segment", "a.mp4", "--format", "jsonl", "--text", "dog"]
    # The scripted segmenter's objects lie at the left, further down one by one.
    assert main([*command, "--box", "0.8,0.8,0.1,0.1"], load=Loader()) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "of its box" in line]
    assert "100 % of the mask lies outside of its box" in row
    assert main([*command, "--overwrite", "--box", "0.01,0.01,0.99,0.99"], load=Loader()) == 0
    assert "warning" not in capsys.readouterr().out
