"""Every example runs as it is, and shows what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
NUM_FRAMES = 6


def run(name: str, cwd: Path) -> list[str]:
    """The lines that an example prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / name)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def frames(lines: list[str]) -> list[int]:
    """The frames that are told of."""
    return [int(match[1]) for line in lines if (match := re.match(r"frame (\d+)", line))]


def test_words(tmp_path: Path) -> None:
    lines = run("words.py", tmp_path)
    assert frames(lines) == list(range(NUM_FRAMES))
    assert {"dog face", "足球"} == set(re.findall(r"object \d+: (.+),", "\n".join(lines)))


def test_clicks(tmp_path: Path) -> None:
    lines = run("clicks.py", tmp_path)
    assert frames(lines) == list(range(NUM_FRAMES))
    assert all(int(line.split()[-2]) > 1000 for line in lines)


def test_pushed_frames(tmp_path: Path) -> None:
    lines = run("pushed_frames.py", tmp_path)
    assert frames(lines) == list(range(NUM_FRAMES))
    with_pizza = frames([line for line in lines if "frame" in line and ", pizza" in line])
    assert f"pizza from frame {with_pizza[0]} on" in lines
    assert with_pizza == list(range(NUM_FRAMES // 2, NUM_FRAMES))


@pytest.mark.cluster
def test_runtime_and_client(tmp_path: Path) -> None:
    lines = run("runtime_and_client.py", tmp_path)
    assert frames(lines) == list(range(NUM_FRAMES))
    assert all(line.endswith("[0 1]") for line in lines if line.startswith("frame"))


def test_result_files(tmp_path: Path) -> None:
    lines = run("result_files.py", tmp_path)
    names = ["results.jsonl", "overlay.mp4", "coco.json", "youtube_vis.json"]
    assert [Path(line).name for line in lines] == names
    assert all((tmp_path / line).stat().st_size > 0 for line in lines)


def test_search_an_index(tmp_path: Path) -> None:
    notebook = json.loads((FOLDER / "search_an_index.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"]
    program = tmp_path / "search_an_index.py"
    program.write_text("\n".join(cells), encoding="utf-8")
    lines = run(str(program), tmp_path)
    told = {name: rest for name, _, rest in (line.partition(" ") for line in lines)}
    assert told["concept"] == "soccer ball 1"
    assert told["hit"].startswith("dog face ")
    assert re.fullmatch(r"\d+ \(\d+, \d+, 3\) \d+", told["frame"])
    assert told["'dog'"].startswith("is not indexed; nearest: 'dog face'")
    assert int(told["tiles"]) >= 2
    assert told["clips"] == "2"


def test_the_notebook_is_listed_and_has_no_output() -> None:
    name = "search_an_index.ipynb"
    assert f"[{name}]({name})" in (FOLDER / "README.md").read_text(encoding="utf-8")
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert not any(one.get("outputs") for one in notebook["cells"])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_it_is_short_listed_and_tested(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    assert f"[{path.name}]({path.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f'run("{path.name}"' in Path(__file__).read_text(encoding="utf-8")
