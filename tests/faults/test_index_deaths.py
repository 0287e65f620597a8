"""Workers of a build die: what is to blame is recorded, and nothing else is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maskstream.core.errors import ArchiveError, CheckpointError
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.attempts import Attempts
from maskstream.pipeline.archive.indexing.building import BuildResult, BuildRules, build_index
from maskstream.pipeline.archive.indexing.ray_pool import RayPool, RayPoolConfig
from tests.pipeline import scene
from tests.pipeline.archive.indexes import (
    SETTINGS,
    all_files,
    build,
    failures,
    head_of,
    manifests,
    rows_of,
)
from tests.pipeline.archive.poison import PoisonTools, write_poison
from tests.pipeline.archive.scripted import ScriptedTools
from tests.pipeline.clips import write_clip, write_numbered_clip

ROOT = Path(__file__).parents[2]

# Ray Data sets options of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:`\w+` is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def _workers_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(5):
        write_numbered_clip(folder / f"{number}.mp4", 24, options={"g": "8"})
    return folder


def build_on_ray(videos: Path, index: Path, config: RayPoolConfig, *texts: str) -> BuildResult:
    storage = Storage(str(index))
    return build_index(
        [str(videos)],
        texts,
        storage,
        head_of(SETTINGS),
        load=ScriptedTools,
        open_pool=lambda tell, must_stop: RayPool(
            SETTINGS, storage, config, tell=tell, must_stop=must_stop
        ),
        rules=BuildRules(max_deaths=2),
    )


def test_a_poisoned_video_is_a_failure_and_takes_no_other_along(
    videos: Path, tmp_path: Path
) -> None:
    build(videos, tmp_path / "alone", "dog")
    poison = write_poison(videos / "2 poison.mp4")
    config = RayPoolConfig(num_workers=2, in_hand=2, factory=PoisonTools)
    result = build_on_ray(videos, tmp_path / "index", config, "dog")
    assert (result.num_done, result.num_failed, result.left) == (5, 1, [])
    [failure] = failures(tmp_path / "index")
    assert (failure.source, failure.stage) == (str(poison), "died")
    assert "its worker died 2 times while it worked on nothing else" in failure.reason
    found = manifests(tmp_path / "index")
    expected = manifests(tmp_path / "alone")
    assert found == expected
    for manifest in found:
        assert rows_of(tmp_path / "index", manifest) == rows_of(tmp_path / "alone", manifest)
    assert Attempts(Storage(str(tmp_path / "index"))).noted() == set()
    again = build(videos, tmp_path / "index", "dog")
    assert (again.counts.indexed, again.counts.failed_before, again.num_done) == (5, 1, 0)


def no_tools() -> ScriptedTools:
    raise CheckpointError("there is no checkpoint here")


def test_workers_that_cannot_start_end_the_build_with_the_reason(
    videos: Path, tmp_path: Path
) -> None:
    config = RayPoolConfig(num_workers=1, factory=no_tools)
    with pytest.raises(ArchiveError, match=r"Ray has ended the build: .*no checkpoint here"):
        build_on_ray(videos, tmp_path / "index", config, "dog")
    assert not (tmp_path / "index" / "lock.json").exists()
    assert build(videos, tmp_path / "index", "dog").num_done == 5


class Command:
    """``maskstream index build`` in a process of its own."""

    def __init__(self, videos: Path, index: Path, *options: str) -> None:
        words = ["--text", "red circle", "--chunk-s", "0.2", "--json", "--out", str(index)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "maskstream", "index", "build", str(videos), *words, *options],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_until(self, condition: Callable[[dict[str, object]], bool]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if condition(json.loads(line)):
                return
        raise AssertionError(self._process.communicate())

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def finish(self) -> int:
        _, errors = self._process.communicate()
        assert "Traceback" not in errors, errors
        return self._process.returncode


def test_ctrl_c_ends_after_the_chunks_in_hand_and_the_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    images = [scene.image(number) for number in range(24)]
    for number in range(3):
        write_clip(tmp_path / "videos" / f"{number}.mp4", images, options={"g": "6"})
    index = tmp_path / "index"
    first = Command(tmp_path / "videos", index, "--workers", "2")
    first.read_until(lambda told: told["event"] == "progress")
    first.send(signal.SIGINT)
    assert first.finish() == 130
    assert Attempts(Storage(str(index))).noted() == set()
    assert not (index / "lock.json").exists()
    assert len(manifests(index)) < 3
    assert Command(tmp_path / "videos", index, "--workers", "0").finish() == 0
    assert Command(tmp_path / "videos", tmp_path / "whole", "--workers", "0").finish() == 0
    assert all_files(index) == all_files(tmp_path / "whole")
