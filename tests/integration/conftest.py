"""One runtime for all tests of a process that say ``runtime`` or ``store``."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import torch

from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.integration.serving import load_model, running_runtime
from tests.pipeline import scene
from tests.shared import RUNTIME


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As workers have it: results agree to the bit between processes with one thread only."""
    torch.set_num_threads(1)


@pytest.fixture
def shared_runtime() -> tuple[Runtime, SessionStore]:
    """One for all tests of this process that ask for it: none leaves a session behind."""
    both: tuple[Runtime, SessionStore] = RUNTIME.get(running_runtime)
    return both


@pytest.fixture
def served_by(shared_runtime: tuple[Runtime, SessionStore]) -> tuple[Runtime, SessionStore]:
    """What ``runtime`` and ``store`` are; files with a runtime of their own say their own."""
    return shared_runtime


@pytest.fixture
def runtime(served_by: tuple[Runtime, SessionStore]) -> Runtime:
    return served_by[0]


@pytest.fixture
def store(served_by: tuple[Runtime, SessionStore]) -> SessionStore:
    return served_by[1]


@pytest.fixture(scope="session")
def model() -> VideoModel:
    return load_model()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene, 40 frames."""
    return scene.write_scene(tmp_path_factory.mktemp("scene") / "clip.mp4", 40)


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex[:12]
