"""The same session API in process, at the runtime, and through a client in another process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskstream.core.errors import InputError, PromptError, SessionError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.local.predictor import Sam3VideoPredictor
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.pipeline import scene
from tests.pipeline.asking import Place, ask, start

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "pipeline" / "client" / "client_program.py"
NUM_FRAMES = 18


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene.write_scene(tmp_path_factory.mktemp("short") / "clip.mp4", NUM_FRAMES)


@pytest.fixture(scope="module")
def expected(model: VideoModel, short_clip: Path) -> list[dict[str, Any]]:
    """What the predictor in this process answers."""
    predictor = Sam3VideoPredictor(model)
    answers = whole_session(predictor, short_clip)
    predictor.close()
    return answers


def whole_session(place: Place, clip: Path) -> list[dict[str, Any]]:
    """A concept and a file, from the prompt to the last frame."""
    session_id = start(place, clip)
    answers = [ask(place, "add_prompt", session_id, frame_index=0, text="red circle")]
    stream = {"type": "propagate_in_video", "session_id": session_id}
    answers += list(place.handle_stream_request(stream))
    ask(place, "close_session", session_id)
    return answers


def assert_same_answers(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Ids and masks to the bit, scores to the sixth digit, and the same form."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in ("frame_index", "pts_s", "epoch", "gap_s", "prompt_id", "took_effect_at"):
            assert one.get(name) == other.get(name)
        outputs, wanted = one["outputs"], other["outputs"]
        assert outputs.keys() == wanted.keys()
        for name in ("out_obj_ids", "out_binary_masks", "out_prompt_ids"):
            assert outputs[name].dtype == wanted[name].dtype
            np.testing.assert_array_equal(outputs[name], wanted[name])
        for name in ("out_labels", "out_states"):
            assert outputs[name] == wanted[name]
        for name in ("out_probs", "out_boxes_xywh", "out_tracker_probs"):
            assert outputs[name].dtype == wanted[name].dtype
            np.testing.assert_allclose(outputs[name], wanted[name], atol=1e-6)


def test_the_runtime_answers_as_the_predictor_does(
    runtime: Runtime, short_clip: Path, expected: list[dict[str, Any]]
) -> None:
    assert [one["frame_index"] for one in expected] == [0, *range(NUM_FRAMES)]
    assert all(len(one["outputs"]["out_obj_ids"]) == 1 for one in expected)
    assert_same_answers(whole_session(runtime, short_clip), expected)


def test_a_client_in_another_process_gets_the_same(
    store: SessionStore, short_clip: Path, expected: list[dict[str, Any]]
) -> None:
    assert store.url is not None
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), store.url, "maskstream", str(short_clip), "red circle"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == len(expected)
    for one, other in zip(answers, expected, strict=True):
        outputs = other["outputs"]
        assert one["frame_index"] == other["frame_index"]
        assert one["ids"] == outputs["out_obj_ids"].tolist()
        assert one["labels"] == outputs["out_labels"]
        assert one["masks"] == [
            hashlib.sha256(mask.tobytes()).hexdigest() for mask in outputs["out_binary_masks"]
        ]


def test_pushed_frames_give_what_the_file_gives(
    store: SessionStore, short_clip: Path, expected: list[dict[str, Any]]
) -> None:
    client = Client(store)
    session_id = start(client, "pushed://", queue_size=NUM_FRAMES)
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    with open_source(short_clip) as source:
        for frame in source:
            pushed = ask(client, "push_frame", session_id, frame=frame.image, pts_s=frame.pts_s)
            assert pushed["num_dropped"] == 0
    ask(client, "push_frame", session_id, is_last=True)
    stream = {"type": "stream_results", "session_id": session_id}
    answers = [
        # What runs by itself has one epoch, that of its source.
        {name: value for name, value in answer.items() if name != "cursor"} | {"epoch": 1}
        for answer in client.handle_stream_request(stream)
        if answer["epoch"] == 0
    ]
    assert_same_answers(answers, expected[1:])
    frames = ask(client, "get_session", session_id)["frames"]
    assert frames == {
        "decoded": NUM_FRAMES,
        "processed": NUM_FRAMES,
        "dropped": {},
        "in_flight": 0,
    }
    ask(client, "close_session", session_id)


def test_two_clients_prompt_at_once(store: SessionStore, short_clip: Path) -> None:
    one, two = Client(store, client_id="one"), Client(store, client_id="two")
    session_id = start(one, short_clip, latency="live")
    words = ["red circle", "blue square", "green star", "yellow circle"]

    def prompt(number: int) -> dict[str, Any]:
        client = one if number % 2 == 0 else two
        return ask(client, "add_prompt", session_id, frame_index=0, text=words[number])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(prompt, range(4)))
    journal = store.read_journal(session_id).entries
    order = [entry.payload["text"] for entry in journal]
    assert sorted(order) == sorted(words)
    assert {entry.client_id for entry in journal} == {"one", "two"}
    for word, answer in zip(words, answers, strict=True):
        assert answer["prompt_id"] == order.index(word)
        assert answer["took_effect_at"] == 0
    stream = {
        "type": "propagate_in_video",
        "session_id": session_id,
        "propagation_direction": "forward",
        "max_frame_num_to_track": 3,
    }
    *_, last = two.handle_stream_request(stream)
    assert {"red circle", "blue square"} <= set(last["outputs"]["out_labels"])
    ask(two, "close_session", session_id)


def test_the_same_errors_in_all_places(
    model: VideoModel, runtime: Runtime, store: SessionStore, short_clip: Path
) -> None:
    places: list[Place] = [Sam3VideoPredictor(model), runtime, Client(store)]
    for place in places:
        session_id = start(place, short_clip)
        for fields, error, complaint in (
            ({"frame_index": 400, "text": "star"}, InputError, "there is no frame 400"),
            ({"frame_index": 0, "text": "word " * 60}, PromptError, "token"),
            ({"frame_index": 0, "text": "", "colour": 1}, InputError, "unknown key 'colour'"),
        ):
            with pytest.raises(error, match=complaint):
                ask(place, "add_prompt", session_id, **fields)
        stream = {"type": "propagate_in_video", "session_id": session_id}
        with pytest.raises(SessionError, match="no prompt"):
            list(place.handle_stream_request(stream))
        with pytest.raises(SessionError, match="takes no pushed frames"):
            ask(place, "push_frame", session_id, frame=scene.image(0))
        ask(place, "close_session", session_id)
