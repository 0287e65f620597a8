"""The session API in one process, as SAM 3 clients call it."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskstream.core.errors import (
    ImageError,
    InputError,
    RequestError,
    SessionError,
    SessionLimitError,
    SessionNotFoundError,
    SourceError,
)
from maskstream.pipeline.local.predictor import Sam3VideoPredictor
from maskstream.pipeline.video.model import VideoModel
from tests.pipeline import scene

NUM_FRAMES = 20


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel.from_checkpoint("tiny", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene.write_scene(tmp_path_factory.mktemp("clips") / "scene.mp4", NUM_FRAMES)


@pytest.fixture
def predictor(model: VideoModel) -> Iterator[Sam3VideoPredictor]:
    predictor = Sam3VideoPredictor(model)
    yield predictor
    predictor.close()


def start(predictor: Sam3VideoPredictor, path: Path) -> str:
    answer = predictor.handle_request({"type": "start_session", "resource_path": str(path)})
    session_id: str = answer["session_id"]
    return session_id


def ask(predictor: Sam3VideoPredictor, kind: str, session_id: str, **fields: Any) -> dict[str, Any]:
    return predictor.handle_request({"type": kind, "session_id": session_id, **fields})


def propagate(
    predictor: Sam3VideoPredictor, session_id: str, **fields: Any
) -> list[dict[str, Any]]:
    request = {"type": "propagate_in_video", "session_id": session_id, **fields}
    return list(predictor.handle_stream_request(request))


def test_a_whole_session(predictor: Sam3VideoPredictor, clip: Path) -> None:
    session_id = start(predictor, clip)
    answer = ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
    assert answer["frame_index"] == 0
    outputs = answer["outputs"]
    assert outputs["out_obj_ids"].tolist() == [0]
    answers = propagate(predictor, session_id)
    assert [answer["frame_index"] for answer in answers] == list(range(NUM_FRAMES))
    for answer in answers:
        outputs = answer["outputs"]
        count = len(outputs["out_obj_ids"])
        assert count == 1
        assert outputs["out_obj_ids"].dtype == np.int64
        assert outputs["out_probs"].dtype == np.float32
        assert outputs["out_boxes_xywh"].shape == (count, 4)
        assert outputs["out_binary_masks"].shape == (count, scene.HEIGHT, scene.WIDTH)
        assert outputs["out_binary_masks"].dtype == np.bool_
        assert outputs["out_labels"] == ["red circle"]
        assert outputs["out_states"] == ["confirmed"]
        assert 0 <= outputs["out_tracker_probs"][0] <= 1
        truth = scene.red_circle(answer["frame_index"])
        assert scene.iou(outputs["out_binary_masks"][0], truth) > 0.7
    removed = ask(predictor, "remove_object", session_id, obj_id=0)
    assert removed == {"is_success": True, "kept_away": True}
    again = ask(predictor, "remove_object", session_id, obj_id=0)
    assert again == {"is_success": False, "kept_away": False}
    assert ask(predictor, "reset_session", session_id) == {"is_success": True}
    assert ask(predictor, "close_session", session_id) == {"is_success": True}
    assert ask(predictor, "close_session", session_id) == {"is_success": True}
    with pytest.raises(SessionNotFoundError, match=session_id):
        ask(predictor, "reset_session", session_id)


def test_several_texts_points_and_boxes(predictor: Sam3VideoPredictor, clip: Path) -> None:
    session_id = start(predictor, clip)
    ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
    ask(predictor, "add_prompt", session_id, frame_index=0, text="blue square")
    outputs = ask(
        predictor,
        "add_prompt",
        session_id,
        frame_index=0,
        points=[[0.72, 0.71]],
        point_labels=[1],
        obj_id=7,
    )["outputs"]
    assert outputs["out_obj_ids"].tolist() == [0, 1, 7]
    last = propagate(predictor, session_id, propagation_direction="forward")[-1]["outputs"]
    assert set(last["out_labels"]) == {"red circle", "blue square", "object"}


def test_defaults_start_on_the_earliest_prompt_and_go_both_ways(
    predictor: Sam3VideoPredictor, clip: Path
) -> None:
    session_id = start(predictor, clip)
    ask(predictor, "add_prompt", session_id, frame_index=12, text="red circle")
    ask(predictor, "add_prompt", session_id, frame_index=9, text="blue square")
    order = [answer["frame_index"] for answer in propagate(predictor, session_id)]
    assert order == [*range(9, NUM_FRAMES), *range(8, -1, -1)]
    chosen = propagate(
        predictor,
        session_id,
        start_frame_index=4,
        max_frame_num_to_track=3,
        propagation_direction="backward",
    )
    assert [answer["frame_index"] for answer in chosen] == [3, 2, 1]


def test_a_run_goes_so_far_from_its_start(predictor: Sam3VideoPredictor, clip: Path) -> None:
    session_id = start(predictor, clip)
    ask(predictor, "add_prompt", session_id, frame_index=5, text="red circle")

    def order(**fields: Any) -> list[int]:
        answers = propagate(predictor, session_id, start_frame_index=5, **fields)
        return [answer["frame_index"] for answer in answers]

    assert order(max_frame_num_to_track=2) == [5, 6, 7, 4, 3]
    assert order(max_frame_num_to_track=0) == [5]
    assert order(max_frame_num_to_track=0, propagation_direction="backward") == []
    assert order(max_frame_num_to_track=-1, propagation_direction="backward") == [4, 3, 2, 1, 0]


def test_several_texts_in_one_prompt(predictor: Sam3VideoPredictor, clip: Path) -> None:
    session_id = start(predictor, clip)
    texts = ["red circle", "blue square"]
    answer = ask(predictor, "add_prompt", session_id, frame_index=0, text=texts)
    assert (answer["prompt_id"], answer["prompt_ids"]) == (0, [0, 1])
    assert answer["outputs"]["out_labels"] == texts
    with pytest.raises(InputError, match="token"):
        ask(predictor, "add_prompt", session_id, frame_index=0, text=["star", "word " * 60])
    one_by_one = start(predictor, clip)
    for text in texts:
        again = ask(predictor, "add_prompt", one_by_one, frame_index=0, text=text)
    for name in ("out_obj_ids", "out_binary_masks", "out_probs"):
        assert np.array_equal(again["outputs"][name], answer["outputs"][name])
    labels = propagate(predictor, session_id, max_frame_num_to_track=1)[-1]["outputs"]["out_labels"]
    assert labels == texts


def test_pictures_in_memory(predictor: Sam3VideoPredictor, clip: Path) -> None:
    pictures = [scene.image(0), Image.fromarray(scene.image(1)), scene.image(2)]
    request = {"type": "start_session", "resource_path": pictures}
    session_id = predictor.handle_request(request)["session_id"]
    ask(predictor, "add_prompt", session_id, frame_index=1, text="red circle")
    answers = propagate(predictor, session_id)
    assert [answer["frame_index"] for answer in answers] == [1, 2, 0]
    assert all(answer["outputs"]["out_labels"] == ["red circle"] for answer in answers)
    with pytest.raises(ImageError, match="shape"):
        predictor.handle_request({**request, "resource_path": [np.zeros((2, 2, 2, 2), np.uint8)]})
    with pytest.raises(SourceError, match="no such pictures"):
        predictor.handle_request({**request, "resource_path": "memory://others"})


def test_pictures_in_memory_are_let_go_with_their_session(model: VideoModel) -> None:
    picture = scene.image(0)
    is_kept = weakref.ref(picture)
    with Sam3VideoPredictor(model) as predictor:
        request = {"type": "start_session", "resource_path": [picture]}
        ask(predictor, "close_session", predictor.handle_request(request)["session_id"])
    del picture, request
    gc.collect()
    assert is_kept() is None


def test_what_was_found_and_removed_stays_away_unless_asked_otherwise(
    predictor: Sam3VideoPredictor, clip: Path
) -> None:
    either: list[tuple[bool, set[str]]] = [(True, set()), (False, {"red circle"})]
    for keep_away, labels in either:
        session_id = start(predictor, clip)
        ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
        propagate(predictor, session_id, max_frame_num_to_track=3)
        answer = ask(predictor, "remove_object", session_id, obj_id=0, keep_away=keep_away)
        assert answer["kept_away"] is keep_away
        outputs = [answer["outputs"] for answer in propagate(predictor, session_id)]
        assert {label for one in outputs for label in one["out_labels"]} == labels
        assert {one["frame_stats"]["num_kept_away"] for one in outputs} == {int(keep_away)}
        # Words that are said again do not bring it back; a click on it does.
        again = ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
        assert again["outputs"]["out_labels"] == []
        click = {"points": [[0.28, 0.33]], "point_labels": [1], "obj_id": 0}
        shown = ask(predictor, "add_prompt", session_id, frame_index=0, **click)["outputs"]
        assert 0 in shown["out_obj_ids"].tolist()


def test_threshold_of_the_output(predictor: Sam3VideoPredictor, clip: Path) -> None:
    session_id = start(predictor, clip)
    ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
    answers = propagate(
        predictor, session_id, output_prob_thresh=1.0, propagation_direction="forward"
    )
    assert all(len(answer["outputs"]["out_obj_ids"]) == 0 for answer in answers)


def test_folders_and_images(predictor: Sam3VideoPredictor, tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(scene.image(index)).save(tmp_path / f"{index}.jpg", quality=95)
    for path, count in ((tmp_path, 3), (tmp_path / "1.jpg", 1)):
        session_id = start(predictor, path)
        ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
        answers = propagate(predictor, session_id)
        assert len(answers) == count
        assert all(len(answer["outputs"]["out_obj_ids"]) == 1 for answer in answers)


def test_sessions_do_not_mix(predictor: Sam3VideoPredictor, clip: Path) -> None:
    one, other = start(predictor, clip), start(predictor, clip)
    ask(predictor, "add_prompt", one, frame_index=0, text="red circle")
    ask(predictor, "add_prompt", other, frame_index=0, text="blue square")
    labels = [
        propagate(predictor, session_id, max_frame_num_to_track=1)[0]["outputs"]["out_labels"]
        for session_id in (one, other)
    ]
    assert labels == [["red circle"], ["blue square"]]


def test_sessions_are_limited_and_closing_one_frees_its_thread(
    model: VideoModel, clip: Path
) -> None:
    with Sam3VideoPredictor(model, max_sessions=2) as predictor:
        first, _ = start(predictor, clip), start(predictor, clip)
        with pytest.raises(SessionLimitError, match="2 open sessions"):
            start(predictor, clip)
        assert ask(predictor, "close_session", first) == {"is_success": True}
        by_itself = {"resource_path": str(clip), "autostart": True, "every_nth": 9}
        predictor.handle_request({"type": "start_session", "session_id": "second", **by_itself})
        followed = {"type": "stream_results", "session_id": "second"}
        frames = [one["frame_index"] for one in predictor.handle_stream_request(followed)]
        assert frames == [0, 9, 18]
        with pytest.raises(SessionError, match="second"):
            predictor.handle_request({"type": "start_session", "session_id": "second", **by_itself})
    assert not [one for one in threading.enumerate() if one.name.startswith("session-")]


def test_a_closed_predictor_says_so(model: VideoModel, clip: Path) -> None:
    with Sam3VideoPredictor(model) as predictor:
        session_id = start(predictor, clip)
    for call in (
        lambda: start(predictor, clip),
        lambda: ask(predictor, "get_session", session_id),
        lambda: propagate(predictor, session_id),
    ):
        with pytest.raises(SessionError, match="the predictor is closed"):
            call()


def test_a_session_that_nobody_uses_makes_room(model: VideoModel, clip: Path) -> None:
    with Sam3VideoPredictor(model, max_sessions=1, expire_after_s=0.2) as impatient:
        old = start(impatient, clip)
        deadline_s = time.monotonic() + 60
        while impatient.handle_request({"type": "list_sessions"})["sessions"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        start(impatient, clip)
        with pytest.raises(SessionNotFoundError, match="expired"):
            ask(impatient, "reset_session", old)


def test_the_latency_of_a_predictor_is_that_of_its_sessions(model: VideoModel, clip: Path) -> None:
    with Sam3VideoPredictor(model, latency="live") as predictor:
        own = start(predictor, clip)
        request = {"type": "start_session", "resource_path": str(clip), "latency": "delayed"}
        other = predictor.handle_request(request)["session_id"]
        latencies = [
            ask(predictor, "get_session", name)["options"].get("latency", "delayed")
            for name in (own, other)
        ]
    assert latencies == ["live", "delayed"]


@pytest.mark.parametrize(
    ("fields", "error", "complaint"),
    [
        ({"frame_index": NUM_FRAMES, "text": "star"}, InputError, f"frame {NUM_FRAMES}"),
        ({"frame_index": -1, "text": "star"}, RequestError, "frame_index"),
        ({"frame_index": 0}, RequestError, "nothing is prompted"),
        ({"frame_index": 0, "text": ""}, RequestError, "empty"),
        ({"frame_index": 0, "text": "word " * 60}, InputError, "token"),
        ({"frame_idx": 0, "text": "star"}, RequestError, "did you mean 'frame_index'"),
        ({"frame_index": 0, "bounding_boxes": [[0.5, 0.5, 1.9, 0.1]]}, RequestError, "outside"),
        ({"frame_index": 0, "points": [[0.5, 0.5]], "point_labels": [1]}, RequestError, "obj_id"),
    ],
)
def test_a_bad_prompt_leaves_the_session_unharmed(
    predictor: Sam3VideoPredictor,
    clip: Path,
    fields: dict[str, Any],
    error: type[Exception],
    complaint: str,
) -> None:
    session_id = start(predictor, clip)
    ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
    with pytest.raises(error, match=complaint):
        ask(predictor, "add_prompt", session_id, **fields)
    answers = propagate(predictor, session_id, max_frame_num_to_track=1)
    assert [answer["outputs"]["out_labels"] for answer in answers] == [["red circle"]] * 2


def test_bad_sources(predictor: Sam3VideoPredictor, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere.mp4", text, tmp_path / "empty"):
        with pytest.raises(SourceError):
            start(predictor, path)
    with pytest.raises(SessionNotFoundError):
        ask(predictor, "reset_session", "unknown")


def test_a_truncated_video_gives_what_it_has(
    predictor: Sam3VideoPredictor, clip: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    data = clip.read_bytes()
    broken.write_bytes(data[: len(data) * 2 // 3])
    session_id = start(predictor, broken)
    ask(predictor, "add_prompt", session_id, frame_index=0, text="red circle")
    seen = []
    stream = predictor.handle_stream_request(
        {"type": "propagate_in_video", "session_id": session_id}
    )
    with pytest.raises(SourceError, match="truncated"):  # noqa: PT012 - the loop is what raises
        for answer in stream:
            seen.append(answer["frame_index"])
    assert seen == list(range(len(seen)))
    assert 0 < len(seen) < NUM_FRAMES
    assert ask(predictor, "reset_session", session_id) == {"is_success": True}


def test_requests_go_to_the_right_door(predictor: Sam3VideoPredictor, clip: Path) -> None:
    session_id = start(predictor, clip)
    with pytest.raises(RequestError, match="handle_stream_request"):
        ask(predictor, "propagate_in_video", session_id)
    with pytest.raises(RequestError, match="handle_request"):
        predictor.handle_stream_request({"type": "reset_session", "session_id": session_id})
    with pytest.raises(RequestError, match="start_frame_index"):
        predictor.handle_stream_request(
            {"type": "propagate_in_video", "session_id": session_id, "start_frame_idx": 3}
        )
