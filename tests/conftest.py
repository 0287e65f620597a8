"""What all tests share: one thread, fixed seeds, no network; and what runs where and when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before huggingface_hub is imported, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
# Each runtime of a test starts a Ray of its own.
os.environ.pop("RAY_ADDRESS", None)

import maskstream  # noqa: F401, I001 - before torch, whose threads it sets up
import hypothesis
import numpy as np
import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from maskstream.core.threads import use_threads
from tests.shared import RUNTIME

if TYPE_CHECKING:
    from maskstream.pipeline.video.model import VideoModel

ROOT = Path(__file__).parent
# By the folder that a test lies in.
CLUSTER_FOLDERS = {"faults", "integration"}
LONG_FOLDERS = {"browser", "examples", "packaging", "parity"}
USUAL_TIMEOUT_S = 300
"""As in pyproject.toml. Who asks for more is long."""

# A test process has one thread, as workers have it: threads that wait for each other on a busy
# machine take many times as long as one.
use_threads(1)

# The same examples on every run; per-test time-outs are pytest's.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, and put those first that mostly wait.

    Those with a Ray of their own, then those that share the one of their process, then what
    computes for long: so the processors have work from start to end, and no process is left alone
    with a long one.
    """
    for item in items:
        folder = item.path.relative_to(ROOT).parts[0]
        if folder in CLUSTER_FOLDERS:
            item.add_marker("cluster")
        if folder in LONG_FOLDERS or _timeout_s(item) > USUAL_TIMEOUT_S:
            item.add_marker("long")
    items.sort(key=_turn)


class SideBySide(LoadScopeScheduling):
    """Hands tests out to test processes, in their order: those of a file together, since they
    share fixtures, and those on Ray one by one, to whoever is free.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return nodeid if file.parts[1] in CLUSTER_FOLDERS else str(file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SideBySide:
    return SideBySide(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not _shares_runtime(item):
        RUNTIME.close()


def pytest_sessionfinish() -> None:
    RUNTIME.close()


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("cluster"):
        return 1 if _shares_runtime(item) else 0
    return 2 if item.get_closest_marker("long") else 3


def _shares_runtime(item: pytest.Item) -> bool:
    return "shared_runtime" in getattr(item, "fixturenames", ())


def _timeout_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return mark.args[0] if mark is not None else USUAL_TIMEOUT_S


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    torch.manual_seed(0)
    np.random.seed(0)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def two_threads() -> None:
    """For what has to be the same however a product is shared out among threads."""
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def model() -> VideoModel:
    """The embedded model, as workers run it. All tests of a process share it: none changes it."""
    from maskstream.pipeline.video.model import VideoModel

    return VideoModel.from_checkpoint("tiny", device="cpu")
