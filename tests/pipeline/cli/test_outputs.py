"""A folder holds the results of one run, whole, or nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from maskstream.pipeline.cli.main import main
from tests.pipeline.cli.test_segment import Loader
from tests.pipeline.clips import write_numbered_clip

ALL_FILES = {"results.jsonl", "coco.json", "youtube_vis.json", "overlay.mp4"}
NUM_FRAMES = 6


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def frames(folder: Path) -> list[int]:
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["frame_index"] for line in lines]


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (80, 48)).save(folder / f"{number}.png")
    return folder


def run(*arguments: str) -> int:
    return main(["segment", *arguments, "--text", "a"], load=Loader())


def test_a_second_run_is_refused_and_changes_nothing(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(str(clip), "--out", str(out)) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert before.keys() == ALL_FILES
    assert run(str(clip), "--out", str(out), "--format", "jsonl", "--max-frames", "2") == 2
    told = capsys.readouterr().err
    assert f"{out} holds the results of an earlier run (coco.json, overlay.mp4" in told
    assert "--overwrite" in told
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_overwrite_replaces_all_of_it_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(str(clip), "--out", str(out)) == 0
    (out / "notes.txt").write_text("mine")
    (out / "overlay-00003.mp4").write_text("of maskstream stream")
    command = [str(clip), "--out", str(out), "--overwrite", "--format", "jsonl"]
    assert run(*command, "--max-frames", "2") == 0
    assert names(out) == {"results.jsonl", "notes.txt"}
    assert frames(out) == [0, 1]


def test_what_fails_before_its_first_frame_overwrites_nothing(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(str(clip), "--out", str(out)) == 0
    assert run(str(clip), "--out", str(out), "--overwrite", "--box", "0,0,0.1,0.1") == 2
    assert frames(out) == list(range(NUM_FRAMES))
    assert names(out) == ALL_FILES


def test_other_files_are_not_in_the_way(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    assert run(str(clip), "--out", str(tmp_path)) == 0
    assert names(tmp_path) == ALL_FILES | {"clip.mp4", "results.json"}


def test_a_file_that_was_not_finished_is_not_overwritten_either(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.jsonl.part").write_text("{}\n")
    assert run(str(clip), "--out", str(out)) == 2
    assert run(str(clip), "--out", str(out), "--overwrite") == 0
    assert names(out) == ALL_FILES


def test_folders_keep_their_whole_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run1.left", "run1.right"):
        pictures(tmp_path / name)
        assert run(name, "--format", "jsonl") == 0
        assert frames(tmp_path / f"{name}-masks") == [0, 1]
    monkeypatch.chdir(tmp_path / "run1.left")
    for here in (".", "../run1.left/", "../run1.right/.."):
        if "right" not in here:
            assert run(here, "--format", "jsonl", "--overwrite") == 0
    assert names(tmp_path / "run1.left") == {"0.png", "1.png", "run1.left-masks"}


def test_sources_that_share_a_name_are_refused(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    clip.with_suffix(".mov").write_bytes(clip.read_bytes())
    assert run("clip.mp4", "clip.mov") == 2
    assert "clip.mp4 and clip.mov would both write to clip-masks" in capsys.readouterr().err
    assert run("clip.mp4", "--format", "jsonl") == 0
    assert run("clip.mov", "--format", "jsonl") == 2
    assert "clip-masks holds the results of an earlier run" in capsys.readouterr().err


def stopped_by_ctrl_c(clip: Path, out: Path, when: str) -> subprocess.CompletedProcess[str]:
    """A run that sends itself signals: ``when`` is Python that has ``loader`` and ``stop``."""
    script = (
        "import os, signal, sys\n"
        "from maskstream.pipeline.cli.main import main\n"
        "from tests.pipeline.cli.test_segment import Loader\n"
        "def stop(times):\n"
        "    for _ in range(times): os.kill(os.getpid(), signal.SIGINT)\n"
        "loader = Loader()\n"
        f"{when}\n"
        "sys.exit(main(sys.argv[1:], load=loader))\n"
    )
    command = [sys.executable, "-c", script, "segment", str(clip), "--text", "a"]
    return subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, check=False
    )


LOADING = "load = Loader.__call__\nLoader.__call__ = lambda *args: [stop({}), load(*args)][1]"


def test_ctrl_c_before_the_first_frame_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    before = names(tmp_path)
    done = stopped_by_ctrl_c(clip, tmp_path / "deep" / "out", LOADING.format(1))
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("when", "left"),
    [
        (LOADING.format(2), None),
        ("loader.after_frame = lambda index: stop(2 * (index == 0))", None),
        ("loader.after_frame = lambda index: stop(2 * (index == 5))", {"results.jsonl.part"}),
    ],
    ids=["while it loads", "before the first result", "after it"],
)
def test_twice_ctrl_c_leaves_what_can_be_read(
    clip: Path, tmp_path: Path, when: str, left: set[str] | None
) -> None:
    out = tmp_path / "out"
    done = stopped_by_ctrl_c(clip, out, when)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert (names(out) if out.exists() else None) == left
    if left is not None:
        assert (out / "results.jsonl.part").stat().st_size > 0


def test_ctrl_c_while_the_source_is_opened(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    opened: Callable[..., None] = interrupted
    monkeypatch.setattr("maskstream.pipeline.cli.segment.open_source", opened)
    assert run(str(clip), "--out", str(tmp_path / "out")) == 130
    assert capsys.readouterr().err == "maskstream: interrupted\n"
    assert not (tmp_path / "out").exists()
