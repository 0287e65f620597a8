"""One index, whoever builds it: this process, one worker, two, or workers on two nodes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import ray
from numpy.typing import NDArray
from ray.cluster_utils import Cluster

from maskstream.detector.frames import Concept, DetectedFrame
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.building import build_index
from maskstream.pipeline.archive.indexing.ray_pool import RayPool, RayPoolConfig
from tests.integration.serving import eventually
from tests.pipeline.archive.indexes import SETTINGS, all_files, build, head_of
from tests.pipeline.archive.scripted import ScriptedTools
from tests.pipeline.clips import write_numbered_clip

ROOT = Path(__file__).parents[2]
_STORE_BYTES = 100_000_000

# Ray Data sets options of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:`\w+` is deprecated:DeprecationWarning")


class NotedTools(ScriptedTools):
    """Notes on which node it works, and waits for the others before it begins.

    Args:
        folder: where.
        num_workers: how many there are to be.
    """

    def __init__(self, folder: str, num_workers: int) -> None:
        self._folder = Path(folder)
        self._num_workers = num_workers

    def detect(
        self, images: Sequence[NDArray[np.uint8]], concepts: Sequence[Sequence[Concept]]
    ) -> list[DetectedFrame]:
        node = ray.get_runtime_context().get_node_id()
        (self._folder / f"{node}-{os.getpid()}").touch()
        eventually(lambda: len(list(self._folder.iterdir())) >= self._num_workers)
        return super().detect(images, concepts)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    node = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    started = Cluster(initialize_head=True, head_node_args=node)
    try:
        started.add_node(**node)
        yield started
    finally:
        started.shutdown()


def test_the_same_index_on_one_node_or_two(cluster: Cluster, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(8):
        write_numbered_clip(videos / f"{number}.mp4", 40, options={"g": "8"})
    build(videos, tmp_path / "whole", "dog", "cat")
    for num_workers in (1, 2):
        notes = tmp_path / f"notes-{num_workers}"
        notes.mkdir()
        index = tmp_path / f"index-{num_workers}"
        storage = Storage(str(index))
        config = RayPoolConfig(
            num_workers=num_workers,
            ray_address=cluster.address,
            factory=NotedTools,
            options={"folder": str(notes), "num_workers": num_workers},
        )
        result = build_index(
            [str(videos)],
            ("dog", "cat"),
            storage,
            head_of(SETTINGS),
            load=ScriptedTools,
            open_pool=lambda tell, must_stop: RayPool(
                SETTINGS,
                storage,  # noqa: B023
                config,  # noqa: B023
                tell=tell,
                must_stop=must_stop,
            ),
        )
        assert (result.num_done, result.left) == (8, [])
        assert all_files(index) == all_files(tmp_path / "whole")
        nodes = {path.name.split("-")[0] for path in notes.iterdir()}
        assert len(nodes) == num_workers
