"""One runtime for the tests of a file that say ``runtime`` or ``store``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.integration.serving import load_model, running_runtime
from tests.pipeline import scene


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As workers have it: results agree to the bit between processes with one thread only."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def served_by() -> Iterator[tuple[Runtime, SessionStore]]:
    with running_runtime() as both:
        yield both


@pytest.fixture(scope="module")
def runtime(served_by: tuple[Runtime, SessionStore]) -> Runtime:
    return served_by[0]


@pytest.fixture(scope="module")
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
