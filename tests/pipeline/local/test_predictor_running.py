"""Sessions that run by themselves, in the process of their client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskstream.core.errors import RequestError, SessionError, SessionLimitError, SourceError
from maskstream.pipeline.local.predictor import Sam3VideoPredictor
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.video.model import VideoModel
from tests.pipeline import scene

NUM_FRAMES = 6


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel.from_checkpoint("tiny", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene.write_scene(tmp_path_factory.mktemp("clips") / "scene.mp4", NUM_FRAMES)


@pytest.fixture
def predictor(model: VideoModel) -> Iterator[Sam3VideoPredictor]:
    predictor = Sam3VideoPredictor(model, max_sessions=3)
    yield predictor
    predictor.close()


def start(predictor: Sam3VideoPredictor, source: Path | str, **fields: Any) -> str:
    request = {"type": "start_session", "resource_path": str(source), **fields}
    session_id: str = predictor.handle_request(request)["session_id"]
    return session_id


def ask(predictor: Sam3VideoPredictor, kind: str, session_id: str, **fields: Any) -> dict[str, Any]:
    return predictor.handle_request({"type": kind, "session_id": session_id, **fields})


def stream(predictor: Sam3VideoPredictor, kind: str, session_id: str) -> list[dict[str, Any]]:
    return list(predictor.handle_stream_request({"type": kind, "session_id": session_id}))


def test_pushed_frames_give_what_the_file_gives(predictor: Sam3VideoPredictor, clip: Path) -> None:
    driven = start(predictor, clip)
    ask(predictor, "add_prompt", driven, frame_index=0, text="red circle")
    expected = stream(predictor, "propagate_in_video", driven)
    assert any(len(one["outputs"]["out_obj_ids"]) for one in expected)
    pushed = start(predictor, "pushed://")
    answer = ask(predictor, "add_prompt", pushed, frame_index=0, text="red circle")
    assert (answer["prompt_id"], answer["took_effect_at"]) == (0, 0)
    with open_source(clip) as source:
        for frame in source:
            ask(predictor, "push_frame", pushed, frame=frame.image, pts_s=frame.pts_s)
    ask(predictor, "push_frame", pushed, is_last=True)
    answers = stream(predictor, "stream_results", pushed)
    assert len(answers) == len(expected) == NUM_FRAMES
    for one, other in zip(answers, expected, strict=True):
        assert (one["frame_index"], one["pts_s"]) == (other["frame_index"], other["pts_s"])
        for name, values in one["outputs"].items():
            if name in ("out_probs", "out_boxes_xywh", "out_tracker_probs"):
                np.testing.assert_allclose(values, other["outputs"][name], atol=1e-6)
            elif name != "frame_stats":
                np.testing.assert_array_equal(values, other["outputs"][name])
    sessions = predictor.handle_request({"type": "list_sessions"})["sessions"]
    assert [one["session_id"] for one in sessions] == [driven, pushed]
    assert sessions[0].keys() == sessions[1].keys()
    assert [one["frames"]["processed"] for one in sessions] == [NUM_FRAMES, NUM_FRAMES]


def test_a_file_by_itself_and_closing_it_frees_its_thread(
    predictor: Sam3VideoPredictor, clip: Path
) -> None:
    session_id = start(predictor, clip, autostart=True, latency="live", every_nth=3)
    answers = stream(predictor, "stream_results", session_id)
    assert [one["frame_index"] for one in answers] == [0, 3]
    running = predictor._running[session_id]
    assert ask(predictor, "close_session", session_id) == {"is_success": True}
    assert running.join(0)
    assert predictor.handle_request({"type": "list_sessions"})["sessions"] == []


def test_driven_and_running_share_the_limit_and_the_names(
    predictor: Sam3VideoPredictor, clip: Path
) -> None:
    first = start(predictor, "pushed://", owner="ann")
    start(predictor, clip, session_id="mine")
    start(predictor, "rtsp://127.0.0.1:9/nobody", owner="ann")
    owned = predictor.handle_request({"type": "list_sessions", "owner": "ann"})["sessions"]
    assert [one["state"] for one in owned] == ["running", "running"]
    with pytest.raises(SessionLimitError, match="there are 3 sessions"):
        start(predictor, clip)
    ask(predictor, "close_session", first)
    for name in ("mine", owned[1]["session_id"]):
        with pytest.raises(RequestError, match="already"):
            start(predictor, "pushed://", session_id=name)
    with pytest.raises(SourceError, match="does not exist"):
        start(predictor, clip.with_name("none.mp4"), autostart=True)
    start(predictor, clip)


def test_what_a_driven_session_does_not_offer(predictor: Sam3VideoPredictor, clip: Path) -> None:
    session_id = start(predictor, f"file://{clip}")
    with pytest.raises(SessionError, match="keeps no log"):
        ask(predictor, "get_results", session_id)
    with pytest.raises(SessionError, match="keeps no log"):
        stream(predictor, "stream_results", session_id)
    with pytest.raises(SessionError, match="takes no pushed frames"):
        ask(predictor, "push_frame", session_id, frame=np.zeros((4, 4, 3), np.uint8))
    assert ask(predictor, "pause_session", session_id) == {"is_success": True}
    assert ask(predictor, "get_session", session_id)["state"] == "paused"
    assert ask(predictor, "resume_session", session_id) == {"is_success": True}
