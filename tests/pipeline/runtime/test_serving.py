"""Where a track worker serves its sessions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from maskstream.core.errors import ConfigError
from maskstream.pipeline.runtime import RunnerConfig, SourcePolicy
from maskstream.pipeline.runtime.serving import StoreServer
from maskstream.pipeline.store import NewSession, SessionStore, open_store
from maskstream.pipeline.store.address import StoreAddress
from maskstream.pipeline.video.model import VideoModel
from maskstream.workers.decoders import Decoders
from maskstream.workers.detect import DetectionService
from maskstream.workers.local_detect import BatchLimits, LocalDetectionService
from maskstream.workers.track import Tools


@pytest.fixture
def detection(model: VideoModel) -> Iterator[LocalDetectionService]:
    from maskstream.detector.frames import FrameDetector

    service = LocalDetectionService(FrameDetector(model.detector), BatchLimits(num_threads=1))
    yield service
    service.close()


@pytest.fixture
def store() -> Iterator[SessionStore]:
    with open_store() as store:
        yield store


def test_each_session_has_a_thread_that_ends_with_it(
    store: SessionStore,
    model: VideoModel,
    detection: DetectionService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray's threads stay, and so would the memory that torch uses in each."""
    served_in: list[threading.Thread] = []
    check_options = StoreServer._run

    def note(self: StoreServer, session_id: str) -> Any:
        served_in.append(threading.current_thread())
        return check_options(self, session_id)

    monkeypatch.setattr(StoreServer, "_run", note)
    assert store.url is not None
    spec = {
        "store": StoreAddress(store.url, "maskstream", None),
        "policy": SourcePolicy(),
        "runner": RunnerConfig(),
    }
    server = StoreServer(spec, Tools(model.tracker, model.config, detection, Decoders()))
    assert server.serve("never-started") == "gone"
    bad = NewSession(source="clip.mp4", session_id="bad", options={"every_nth": "x"})
    store.create_session(bad)
    with pytest.raises(ConfigError, match="every_nth"):
        server.serve("bad")
    assert len(set(served_in)) == 2
    assert threading.current_thread() not in served_in
    assert not any(thread.is_alive() for thread in served_in)
    server.stop()
