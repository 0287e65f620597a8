"""README's snippets run as they stand, each from an empty folder.

Left out is what fetches: pip, and make, which runs in the repository. A service is running, and its
address is where README says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.store import SessionStore
from tests.test_readme import BLOCKS

RUN = [
    (language, body)
    for language, body in BLOCKS
    if language in ("python", "bash") and not body.startswith(("make ", "pip "))
]


def snippet(word: str) -> tuple[str, str]:
    """The only one with this word in it: its language, and what it says."""
    (found,) = [one for one in RUN if word in one[1]]
    return found


def run(word: str, folder: Path, redis_url: str | None = None) -> str:
    """What a snippet prints, run in a process of its own."""
    language, body = snippet(word)
    programs = {"python": [sys.executable, "-c"], "bash": ["bash", "-e", "-u", "-c"]}
    here = Path(sys.executable).parent
    address = {} if redis_url is None else {"MASKSTREAM_REDIS_URL": redis_url}
    done = subprocess.run(
        [*programs[language], body],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{here}:{os.environ['PATH']}"} | address,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ten_lines_print_numbers(tmp_path: Path) -> None:
    lines = run("VideoSegmenter.from_checkpoint", tmp_path).splitlines()
    assert all(re.fullmatch(r"\d+ \d+ (dog face|足球) [01]\.\d+", line) for line in lines)
    assert {line.split(" ", 2)[2].rsplit(" ", 1)[0] for line in lines} == {"dog face", "足球"}


def test_the_command_line(tmp_path: Path) -> None:
    told = run("maskstream segment", tmp_path)
    assert "nothing found" not in told
    for folder in ("results", "dogs"):
        files = {path.name for path in (tmp_path / folder).iterdir()}
        assert files == {"results.jsonl", "coco.json", "youtube_vis.json", "overlay.mp4"}
        with open_source(tmp_path / folder / "overlay.mp4") as overlay:
            assert overlay.count_frames() == 24


def test_programs_written_for_sam_3(tmp_path: Path) -> None:
    run("Sam3Processor(", tmp_path)


def test_a_client_of_a_service(
    shared_runtime: tuple[Runtime, SessionStore], tmp_path: Path
) -> None:
    lines = run("Client(", tmp_path, shared_runtime[1].url).splitlines()
    assert len(lines) == 10
    assert all("[0" in line for line in lines)


def test_commands_for_a_service(
    shared_runtime: tuple[Runtime, SessionStore], tmp_path: Path
) -> None:
    told = run("maskstream stream", tmp_path, shared_runtime[1].url)
    assert "24 frames" in told
    assert {path.name for path in (tmp_path / "live").iterdir()} == {
        "results.jsonl",
        "overlay-00000.mp4",
    }
    assert "everything works" in told


@pytest.mark.timeout(400)
def test_a_runtime_of_ones_own(tmp_path: Path) -> None:
    run("with Runtime(", tmp_path)


def test_all_of_them_are_run() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    words = re.findall(r'run\("([^"]+)", tmp_path', source)
    assert sorted(body for _, body in RUN) == sorted(snippet(word)[1] for word in words)
