"""One runtime for all tests of a process that say ``runtime`` or ``store``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionStore
from tests.integration.serving import eventually, running_runtime
from tests.integration.streams import write_stream
from tests.pipeline import scene
from tests.pipeline.live.rtsp import RtspServer
from tests.shared import RUNTIME


@pytest.fixture
def shared_runtime() -> Iterator[tuple[Runtime, SessionStore]]:
    """One for all tests of this process that ask for it; sessions end with their test."""
    runtime, store = RUNTIME.get(running_runtime)
    yield runtime, store
    for record in store.list_sessions().sessions:
        store.delete_session(record.session_id)
    eventually(lambda: not runtime.session_ids)


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
