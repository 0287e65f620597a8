"""One runtime for all tests of a process that say ``runtime`` or ``store``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionStore
from tests.integration.serving import running_runtime
from tests.integration.streams import write_stream
from tests.pipeline import scene
from tests.pipeline.live.rtsp import RtspServer
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
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene, 40 frames."""
    return scene.write_scene(tmp_path_factory.mktemp("scene") / "clip.mp4", 40)


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex[:12]


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``shared_server`` plays: ``clip.mp4`` is the scene as a stream."""
    folder = tmp_path_factory.mktemp("media")
    write_stream(folder / "clip.mp4")
    return folder


@pytest.fixture(scope="session")
def shared_server(media: Path) -> Iterator[RtspServer]:
    """A camera, for tests that leave it as it is."""
    with RtspServer(media) as running:
        yield running


@pytest.fixture
def server(shared_server: RtspServer) -> Iterator[RtspServer]:
    """The same, for tests that kill or freeze it."""
    yield shared_server
    shared_server.restore()
