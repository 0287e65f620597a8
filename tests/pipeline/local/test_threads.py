"""What sessions in this process leave behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.local.threads import SessionThreads
from maskstream.pipeline.store import MemoryStore
from maskstream.pipeline.video.tracking import SessionTracking
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.scripted import ScriptedDetection, ScriptedTracking
from tests.pipeline.store.servers import eventually

NUM_FRAMES = 6


class ForgetfulTools:
    """Makes trackings and detections, and keeps none alive."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[Any]] = []

    def new_tracking(self, latency: Latency) -> SessionTracking:
        tracking = ScriptedTracking()
        self.made.append(weakref.ref(tracking))
        return cast(SessionTracking, tracking)

    def new_detection(self, session_id: str, score_threshold: float | None) -> ScriptedDetection:
        detection = ScriptedDetection()
        self.made.append(weakref.ref(detection))
        return detection


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Tensors do not count for Python, which may not collect garbage for long."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("how", ["by itself", "closed"])
def test_a_session_that_is_over_holds_no_memories_and_its_results_stay(
    tmp_path: Path, how: str
) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES)
    tools = ForgetfulTools()
    with MemoryStore() as store, SessionThreads(store, tools) as threads:
        client = Client(store, serve=threads.serve)
        start = {"type": "start_session", "resource_path": str(clip), "session_id": "s"}
        client.handle_request(start | {"autostart": how == "by itself", "latency": "live"})
        named = {"session_id": "s"}
        if how == "closed":
            prompt = {"type": "add_prompt", "frame_index": 0, "text": "red circle"}
            client.handle_request(prompt | named)
            run = {"type": "propagate_in_video"}
            assert len(list(client.handle_stream_request(run | named))) == NUM_FRAMES
            client.handle_request({"type": "close_session"} | named)
        else:
            answers = list(client.handle_stream_request({"type": "stream_results"} | named))
            assert len(answers) == NUM_FRAMES
        assert len(tools.made) == 2
        assert eventually(lambda: [one() for one in tools.made] == [None, None])
        if how == "by itself":
            page = client.handle_request({"type": "get_results"} | named)
            assert [one["frame_index"] for one in page["results"]] == list(range(NUM_FRAMES))
