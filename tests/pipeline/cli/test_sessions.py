"""The commands that speak to a runtime: sessions, prompt, results, stream."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli import results as cli_results
from maskstream.pipeline.cli.connecting import URL_VARIABLE
from maskstream.pipeline.cli.main import main
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import (
    NewSession,
    ResultEntry,
    SessionState,
    SessionStore,
    open_store,
)
from tests.pipeline.clips import numbered_image, write_numbered_clip
from tests.pipeline.frame_results import make_result
from tests.pipeline.scripted import (
    BAD_WORD,
    ScriptedDetection,
    ScriptedTracking,
    ServingLoop,
    serving,
)

NUM_FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", NUM_FRAMES)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionStore]:
    store = open_store()
    assert store.url is not None
    monkeypatch.setenv(URL_VARIABLE, store.url)
    yield store
    store.close()


@pytest.fixture
def loop(store: SessionStore) -> Iterator[ServingLoop]:
    with serving(store) as loop:
        yield loop


@pytest.fixture
def session_id(store: SessionStore, loop: ServingLoop, clip: Path) -> str:
    """A session that has propagated over the clip."""
    client = Client(store, start_timeout_s=20, answer_timeout_s=20)
    request = {"type": "start_session", "resource_path": str(clip), "owner": "ann"}
    found: str = client.handle_request(request)["session_id"]
    client.handle_request(
        {"type": "add_prompt", "session_id": found, "frame_index": 0, "text": "red circle"}
    )
    stream = {"type": "propagate_in_video", "session_id": found}
    assert len(list(client.handle_stream_request(stream))) == NUM_FRAMES
    return found


Captured = pytest.CaptureFixture[str]


def test_sessions_are_listed_shown_and_closed(session_id: str, capsys: Captured) -> None:
    assert main(["sessions"]) == 0
    shown = capsys.readouterr().out
    assert session_id in shown
    assert "running" in shown
    assert main(["sessions", "--owner", "bob"]) == 0
    assert capsys.readouterr().out == "no sessions\n"
    assert main(["sessions", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sessions"][0]["owner"] == "ann"
    assert main(["sessions", session_id]) == 0
    assert f"{NUM_FRAMES} decoded = {NUM_FRAMES} processed + 0 dropped" in capsys.readouterr().out
    assert main(["sessions", "--close"]) == 2
    assert main(["sessions", session_id, "--close"]) == 0
    assert main(["sessions", session_id]) == 1
    assert f"there is no session '{session_id}'" in capsys.readouterr().err


def test_results_are_printed_and_written(session_id: str, capsys: Captured, tmp_path: Path) -> None:
    assert main(["results", session_id, "--max-frames", "3"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame_index"] for line in lines] == [0, 1, 2]
    assert [line["cursor"] for line in lines] == [1, 2, 3]
    assert {"wall_s", "epoch", "gap_s", "pts_s"} <= lines[0].keys()
    out = tmp_path / "rest.jsonl"
    assert main(["results", session_id, "--cursor", "3", "--out", str(out)]) == 0
    rest = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["frame_index"] for line in rest] == list(range(3, NUM_FRAMES))
    assert FrameResult.from_record(rest[0]).labels == ["red circle"]
    again = ["results", session_id, "--out", str(out), "--max-frames", "1"]
    assert main(again) == 2
    assert "there is such a file" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == len(rest)
    assert main([*again, "--overwrite"]) == 0
    assert len(out.read_text().splitlines()) == 1
    assert main(["results", session_id, "--cursor", "99"]) == 2
    assert "cursor 99 is ahead" in capsys.readouterr().err
    assert main(["results", session_id, "--out", str(tmp_path / "no" / "x")]) == 2


def test_results_are_followed_to_the_end_of_the_session(
    store: SessionStore, loop: ServingLoop, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(store, start_timeout_s=20, answer_timeout_s=20)
    start = {"type": "start_session", "resource_path": "pushed://", "latency": "live"}
    session_id = client.handle_request(start)["session_id"]

    def push(number: int) -> None:
        frame, is_last = numbered_image(number), number == NUM_FRAMES - 1
        request = {"type": "push_frame", "session_id": session_id}
        client.handle_request(request | {"frame": frame, "is_last": is_last})

    print_line = cli_results._print

    def print_and_push(line: str) -> bool:
        """There is no next frame before this one's line has been printed."""
        is_read = print_line(line)
        number = json.loads(line)["frame_index"]
        if number + 1 < NUM_FRAMES:
            push(number + 1)
        return is_read

    monkeypatch.setattr(cli_results, "_print", print_and_push)
    push(0)
    assert main(["results", session_id, "--follow"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame_index"] for line in lines] == list(range(NUM_FRAMES))
    assert [line["cursor"] for line in lines] == list(range(1, NUM_FRAMES + 1))
    assert main(["results", "nobody", "--follow"]) == 1
    assert "there is no session 'nobody'" in capsys.readouterr().err


def test_who_follows_says_how_long_another_runtime_may_take(
    store: SessionStore, capsys: Captured
) -> None:
    session_id = store.create_session(NewSession(source="clip.mp4")).session_id
    store.transition(session_id, SessionState.RUNNING)
    assert store.claim_session("a runtime", lease_s=0.2) == session_id
    entry = ResultEntry(frame_index=0, step=0, wall_s=0.0, record=make_result(0).to_record())
    store.publish_result(session_id, entry)
    begin_s = time.monotonic()
    assert main(["results", session_id, "--follow", "--takeover-s", "1.5"]) == 1
    assert time.monotonic() - begin_s > 1.5
    told = capsys.readouterr()
    assert json.loads(told.out)["frame_index"] == 0  # what there was has been printed
    assert "nobody serves session" in told.err
    assert "maskstream serve" in told.err


def test_prompts_are_sent_and_told(session_id: str, capsys: Captured, tmp_path: Path) -> None:
    mask = np.zeros((48, 80), np.uint8)
    mask[10:20, 10:20] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = ["--text", "blue square", "--box", "0.1,0.1,0.2,0.2@3", "--point", "0.5,0.5"]
    assert main(["prompt", session_id, *arguments, "--mask", str(tmp_path / "mask.png")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "--text blue square: concept 1 from frame 11 on, 2 objects there"
    # The scripted object lies elsewhere.
    assert told[1].startswith("warning: --box 0.1,0.1,0.2,0.2@3: 82 % of the mask lies outside")
    # The runtime picks ids that are not taken.
    assert [line.partition(": ")[2] for line in told[2:]] == [
        "object 102 from frame 3 on, 3 objects there",
        "object 103 from frame 11 on, 4 objects there",
        "object 104 from frame 11 on, 5 objects there",
    ]
    assert main(["prompt", session_id, "--point", "70,40", "--pixels", "--obj-id", "9"]) == 0
    assert "object 9" in capsys.readouterr().out
    changes = ["--remove-object", "9", "--remove-object", "77", "--remove-prompt", "1", "--pause"]
    assert main(["prompt", session_id, *changes]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "removed concept 1",
        "removed object 9",
        "removed object 77: nothing to do",
        "pause",
    ]
    assert main(["prompt", session_id, "--resume", "--cancel"]) == 0
    assert capsys.readouterr().out.splitlines() == ["resume", "cancel: nothing to do"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing to do: give --text"),
        (["--text", BAD_WORD], f"--text {BAD_WORD}: nobody knows what"),
        (["--box", "0.1,0.1,2,2"], "reaches far out of it"),
        (["--point", "900,900", "--pixels"], r"x lies in [0, 80]"),
        (["--box", "0.1,0.1,0.1,0.1@99"], "there is no frame 99"),
    ],
)
def test_prompts_that_cannot_be_used(
    session_id: str, capsys: Captured, arguments: list[str], complaint: str
) -> None:
    assert main(["prompt", session_id, *arguments]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert "Traceback" not in told


def test_no_runtime_is_named(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    for command in (["sessions"], ["results", "s"], ["prompt", "s", "--text", "x"]):
        assert main(command) == 2
        assert "give --redis URL" in capsys.readouterr().err
    url = "redis://bob:hunter2@127.0.0.1:1/0"
    assert main(["sessions", "--redis", url]) == 1
    told = capsys.readouterr().err
    assert "no Redis server can be reached at redis://***@127.0.0.1:1/0" in told
    assert "hunter2" not in told
    assert main(["sessions", "--redis", "http://x"]) == 2


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_file_is_streamed_with_an_overlay(
    loop: ServingLoop, clip: Path, tmp_path: Path, capsys: Captured, store: SessionStore
) -> None:
    out = tmp_path / "out"
    arguments = ["--text", "red circle", "--point", "0.5,0.5@2", "--out", str(out), "--overlay"]
    assert main(["stream", str(clip), *arguments, "--segment-s", "0.15"]) == 0
    told = capsys.readouterr().out
    assert f"{NUM_FRAMES} frames, 2 objects" in told
    assert [line["frame_index"] for line in records(out)] == list(range(NUM_FRAMES))
    # 30 frames a second: five frames in 0.15 s, the last segment has what is left.
    videos = sorted(out.glob("overlay-*.mp4"))
    assert [frames_of(path) for path in videos] == [5, 5, 2]
    assert not list(out.glob("*.part"))
    assert store.list_sessions().sessions == ()


def test_frames_are_pushed_where_an_overlay_needs_them(
    loop: ServingLoop, clip: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    arguments = ["--text", "red circle", "--point", "0.5,0.2", "--region", "0,0,1,0.5"]
    arguments += ["--every-nth", "2", "--out", str(out), "--overlay", "--queue-size", "4"]
    assert main(["stream", str(clip), *arguments]) == 0
    lines = records(out)
    assert [line["frame_index"] for line in lines] == list(range(6))
    assert [line["source_frame_index"] for line in lines] == [0, 2, 4, 6, 8, 10]
    assert {line["height"] for line in lines} == {24}
    (video,) = out.glob("overlay-*.mp4")
    with av.open(str(video)) as container:
        assert container.streams.video[0].height == 24
    assert frames_of(video) == 6


def test_ctrl_c_leaves_readable_files(
    loop: ServingLoop, clip: Path, tmp_path: Path, capsys: Captured, store: SessionStore
) -> None:
    def prepare(tracking: ScriptedTracking, detection: ScriptedDetection) -> None:
        def interrupt(number: int) -> None:
            # The source runs on while the command prompts it: not before there is an object.
            if number == 4 and tracking.concepts:
                # To this process, whose main thread is following the results.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        tracking.before_step = interrupt

    loop.tools.prepare = prepare
    out = tmp_path / "out"
    code = main(["stream", str(clip), "--loop", "--text", "red circle", "--out", str(out)])
    assert code == 130
    lines = records(out)
    assert [line["frame_index"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= 4
    told = capsys.readouterr()
    assert f"{len(lines)} frames, 1 objects" in told.out
    assert store.list_sessions().sessions == ()


def test_a_failing_source_is_told_after_its_results(
    loop: ServingLoop, clip: Path, tmp_path: Path, capsys: Captured
) -> None:
    broken = write_numbered_clip(
        tmp_path / "broken.mp4", 60, container_options={"movflags": "faststart"}
    )
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) * 2 // 3])
    out = tmp_path / "out"
    assert main(["stream", str(broken), "--text", "red circle", "--out", str(out)]) == 1
    assert "truncated" in capsys.readouterr().err
    assert 0 < len(records(out)) < 60


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["nowhere.mp4", "--text", "x"], 2, "nowhere.mp4 does not exist"),
        (["CLIP"], 2, "nothing to look for"),
        (["CLIP", "--text", ""], 2, "text is empty"),
        (["CLIP", "--text", "x", "--overlay"], 2, "--overlay needs --out"),
        (["CLIP", "--text", "x", "--every-nth", "2", "--target-fps", "3"], 2, "give one of them"),
        (["rtsp://cam/x", "--text", "x", "--loop"], 2, "loop is for files"),
        (["rtsp://cam/x", "--mask", "m.png"], 2, "need the size of the frames"),
        (["pushed://", "--text", "x"], 2, "is for programs that push frames"),
        (["ftp://bob:hunter2@cam/x", "--text", "x"], 2, "'ftp' is not allowed"),
    ],
)
def test_streams_that_cannot_be_started(
    loop: ServingLoop,
    store: SessionStore,
    clip: Path,
    capsys: Captured,
    arguments: list[str],
    code: int,
    complaint: str,
) -> None:
    given = [str(clip) if argument == "CLIP" else argument for argument in arguments]
    assert main(["stream", *given]) == code
    told = capsys.readouterr().err
    assert complaint in told
    assert "hunter2" not in told
    assert store.list_sessions().sessions == ()
