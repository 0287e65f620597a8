"""The installed package works from a folder that holds files of the same names as its own.

In it lie ``core/``, ``pipeline.py`` and the like, as a user's own project may have them; whoever
imports one fails.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packaging.environments import Environment, requirements

CLIP = "lib/python*/site-packages/maskstream/pipeline/assets/demo.mp4"
FRAMES = 3
FOLDERS = ("configs", "core", "detector", "tracker")
FILES = ("benchmarks", "pipeline", "training", "workers")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and what it requires."""
    environment = Environment(tmp_path_factory.mktemp("environment"), requirements(wheel))
    environment.install(wheel)
    return environment


@pytest.fixture(scope="module")
def clip(installed: Environment) -> str:
    (path,) = installed.folder.glob(CLIP)
    return str(path)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """The user's folder."""
    line = 'raise RuntimeError(f"{__name__} is the user\'s own: nobody may import it")\n'
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(line, encoding="utf-8")
    for name in FILES:
        (tmp_path / f"{name}.py").write_text(line, encoding="utf-8")
    return tmp_path


def test_the_folder_is_hostile(installed: Environment, hostile: Path) -> None:
    with pytest.raises(AssertionError, match="workers is the user's own"):
        installed.run("python", "-c", "import workers", cwd=hostile)


def test_names_are_imported(installed: Environment, hostile: Path) -> None:
    code = "import maskstream; from maskstream import VideoSegmenter; print(maskstream.__file__)"
    place = installed.run("python", "-c", code, cwd=hostile).strip()
    assert place == str(installed.site_packages / "maskstream" / "__init__.py")


@pytest.mark.cluster
def test_doctor(installed: Environment, hostile: Path) -> None:
    findings = json.loads(installed.run("maskstream", "doctor", "--json", cwd=hostile))
    assert findings


def test_segment(installed: Environment, hostile: Path, clip: str) -> None:
    options = ["--text", "dog face", "--max-frames", str(FRAMES), "--format", "jsonl"]
    installed.run(
        "python", "-m", "maskstream", "segment", clip, *options, "--out", "out", cwd=hostile
    )
    assert _frames(hostile / "out") == list(range(FRAMES))


@pytest.mark.cluster
def test_stream_on_ray(installed: Environment, hostile: Path, clip: str) -> None:
    options = ["--text", "dog face", "--max-frames", str(FRAMES), "--latency", "live"]
    installed.run("maskstream", "stream", clip, *options, "--out", "out", cwd=hostile)
    assert _frames(hostile / "out") == list(range(FRAMES))


def _frames(folder: Path) -> list[int]:
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [told["frame_index"] for told in map(json.loads, lines) if "frame_index" in told]
