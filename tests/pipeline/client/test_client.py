"""The client against a loop that really serves a store, in memory and in a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskstream.core.errors import (
    ConfigError,
    InputError,
    PromptError,
    RequestError,
    SessionError,
    SessionLimitError,
    SessionNotFoundError,
    SourceError,
    StoreError,
)
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import (
    NewEntry,
    Outcome,
    ResultEntry,
    ServiceLimits,
    SessionState,
    SessionStore,
    open_store,
)
from tests.pipeline.clips import number_in, numbered_image, write_numbered_clip
from tests.pipeline.frame_results import make_result
from tests.pipeline.scripted import BAD_WORD, ScriptedTracking, ServingLoop, serving, shown_ids

NUM_FRAMES = 12
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", NUM_FRAMES)


@pytest.fixture(scope="module")
def server() -> Iterator[SessionStore]:
    store = open_store()
    yield store
    store.close()


@pytest.fixture(params=["memory", "server"])
def store(request: pytest.FixtureRequest, server: SessionStore) -> Iterator[SessionStore]:
    if request.param == "memory":
        opened = open_store("memory://")
    else:
        opened = open_store(server.url, f"test-{id(request)}", secret_key=KEY)
    yield opened
    opened.close()


@pytest.fixture
def loop(store: SessionStore) -> Iterator[ServingLoop]:
    with serving(store) as loop:
        yield loop


@pytest.fixture
def client(store: SessionStore, loop: ServingLoop) -> Client:
    return Client(store, start_timeout_s=20, answer_timeout_s=20)


def start(client: Client, source: Path | str, **fields: Any) -> str:
    answer = client.handle_request(
        {"type": "start_session", "resource_path": str(source), **fields}
    )
    session_id: str = answer["session_id"]
    return session_id


def ask(client: Client, kind: str, session_id: str, **fields: Any) -> dict[str, Any]:
    return client.handle_request({"type": kind, "session_id": session_id, **fields})


def stream(client: Client, kind: str, session_id: str, **fields: Any) -> Iterator[dict[str, Any]]:
    return client.handle_stream_request({"type": kind, "session_id": session_id, **fields})


def test_a_whole_session_on_a_file(client: Client, clip: Path) -> None:
    session_id = start(client, clip, owner="ann", latency="live")
    answer = ask(client, "add_prompt", session_id, frame_index=2, text="red circle")
    assert (answer["frame_index"], answer["took_effect_at"]) == (2, 2)
    assert (answer["prompt_id"], answer["obj_id"]) == (0, None)
    outputs = answer["outputs"]
    assert shown_ids(outputs) == [0]
    assert outputs["out_binary_masks"].dtype == np.bool_
    assert outputs["out_binary_masks"].shape == (1, 48, 80)
    answer = ask(
        client, "add_prompt", session_id, frame_index=4, obj_id=7, points=[[0.5, 0.5]],
        point_labels=[1],
    )  # fmt: skip
    assert (answer["prompt_id"], answer["obj_id"]) == (None, 7)
    answers = list(stream(client, "propagate_in_video", session_id))
    order = [*range(2, NUM_FRAMES), 1, 0]
    assert [answer["frame_index"] for answer in answers] == order
    assert [answer["epoch"] for answer in answers] == [1] * 10 + [2] * 2
    for answer in answers:
        assert set(answer) == {"frame_index", "outputs", "pts_s", "wall_s", "epoch", "gap_s"}
        assert shown_ids(answer["outputs"]) == [0, 7]
        assert answer["outputs"]["out_labels"] == ["red circle", "object"]
        assert answer["outputs"]["out_probs"][0] == pytest.approx(answer["frame_index"] / 1000)
    gone = ask(client, "remove_object", session_id, obj_id=7)
    assert gone == {"is_success": True, "kept_away": False}  # nobody would find it by words
    assert not ask(client, "remove_object", session_id, obj_id=7)["is_success"]
    assert ask(client, "remove_prompt", session_id, prompt_id=0) == {"is_success": True}
    assert ask(client, "reset_session", session_id) == {"is_success": True}
    with pytest.raises(SessionError, match="no prompt"):
        list(stream(client, "propagate_in_video", session_id))
    assert ask(client, "close_session", session_id) == {"is_success": True}
    assert ask(client, "close_session", session_id) == {"is_success": True}
    with pytest.raises(SessionNotFoundError, match=session_id):
        ask(client, "reset_session", session_id)


def test_the_log_is_read_by_pages_and_followed(client: Client, clip: Path) -> None:
    session_id = start(client, clip, latency="live")
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    list(stream(client, "propagate_in_video", session_id, propagation_direction="forward"))
    page = ask(client, "get_results", session_id, max_results=5)
    assert [one["frame_index"] for one in page["results"]] == [0, 1, 2, 3, 4]
    assert (page["cursor"], page["num_missed"], page["is_end"]) == (5, 0, False)
    page = ask(client, "get_results", session_id, cursor=page["cursor"], output_prob_thresh=0.006)
    assert [len(one["outputs"]["out_obj_ids"]) for one in page["results"]] == [0] + [1] * 6
    assert page["cursor"] == NUM_FRAMES + 1  # the end of the run is an entry too
    followed = stream(client, "stream_results", session_id, cursor=9)
    assert [(one["frame_index"], one["cursor"]) for one in (next(followed), next(followed))] == [
        (9, 10),
        (10, 11),
    ]
    with pytest.raises(InputError, match="cursor 99 is ahead"):
        ask(client, "get_results", session_id, cursor=99)


def test_a_reader_that_stops_early_stops_the_run(
    client: Client, loop: ServingLoop, clip: Path
) -> None:
    session_id = start(client, clip, latency="live")
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    third = threading.Event()
    tracking: ScriptedTracking = loop.tracking(session_id)
    tracking.before_step = lambda number: None if number < 3 else _wait(third)
    results = stream(client, "propagate_in_video", session_id)
    assert next(results)["frame_index"] == 0
    results.close()  # type: ignore[attr-defined]
    third.set()
    _until(lambda: client.store.read_results(session_id).entries[-1].kind == "end")
    assert ask(client, "cancel_propagation", session_id) == {"is_success": False}
    assert tracking.seen[-1] < NUM_FRAMES - 1
    # It can go on, and start anew.
    assert len(list(stream(client, "propagate_in_video", session_id))) == NUM_FRAMES


def test_cancelling_from_another_thread(client: Client, loop: ServingLoop, clip: Path) -> None:
    session_id = start(client, clip)
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    at_five, go_on = threading.Event(), threading.Event()
    tracking: ScriptedTracking = loop.tracking(session_id)

    def hold(number: int) -> None:
        if number == 5:
            at_five.set()
            _wait(go_on)

    tracking.before_step = hold
    with ThreadPoolExecutor(2) as pool:
        reader = pool.submit(lambda: list(stream(client, "propagate_in_video", session_id)))
        assert at_five.wait(20)
        cancel = pool.submit(ask, client, "cancel_propagation", session_id)
        _until(lambda: client.store.get_session(session_id).journal_sequence == 3)
        go_on.set()
        assert cancel.result(20) == {"is_success": True}
        # What was held back of the frames already done is still given.
        assert [one["frame_index"] for one in reader.result(20)] == list(range(6))
    assert tracking.seen == list(range(6))


def test_pausing_and_resuming(client: Client, loop: ServingLoop, clip: Path) -> None:
    session_id = start(client, clip, latency="live")
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    assert ask(client, "pause_session", session_id) == {"is_success": True}
    assert ask(client, "pause_session", session_id) == {"is_success": False}
    assert ask(client, "get_session", session_id)["state"] == "paused"
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(lambda: list(stream(client, "propagate_in_video", session_id)))
        _until(lambda: client.store.get_session(session_id).settled_sequence == 4)
        # Prompts are taken meanwhile.
        ask(client, "add_prompt", session_id, frame_index=1, text="blue square")
        assert loop.tracking(session_id).seen == []
        assert ask(client, "resume_session", session_id) == {"is_success": True}
        answers = reader.result(20)
    assert [one["outputs"]["out_labels"] for one in answers] == [
        ["red circle", "blue square"]
    ] * NUM_FRAMES


def test_two_clients_prompt_at_once(store: SessionStore, client: Client, clip: Path) -> None:
    session_id = start(client, clip)
    others = [Client(store, client_id=f"client-{number}") for number in range(4)]

    def prompt(number: int) -> dict[str, Any]:
        return ask(others[number % 4], "add_prompt", session_id, frame_index=0, text=f"w{number}")

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(prompt, range(12)))
    journal = store.read_journal(session_id).entries
    given = [entry.payload["text"] for entry in journal]
    assert sorted(given) == sorted(f"w{number}" for number in range(12))
    # Ids were given in journal order, and every client learnt its own.
    for number, answer in enumerate(answers):
        assert answer["prompt_id"] == given.index(f"w{number}")
        assert answer["took_effect_at"] == 0
    assert {entry.client_id for entry in journal} == {f"client-{number}" for number in range(4)}


def test_rejections_are_the_runtimes_own_errors(client: Client, clip: Path) -> None:
    session_id = start(client, clip)
    with pytest.raises(PromptError, match="nobody knows what unspeakable looks like"):
        ask(client, "add_prompt", session_id, frame_index=0, text=BAD_WORD)
    with pytest.raises(InputError, match=f"there is no frame {NUM_FRAMES}"):
        ask(client, "add_prompt", session_id, frame_index=NUM_FRAMES, text="star")
    with pytest.raises(RequestError, match="outside the frame; x lies in"):
        ask(client, "add_prompt", session_id, frame_index=0, points=[[81, 10]], point_labels=[1],
            obj_id=1, rel_coordinates=False)  # fmt: skip
    answer = ask(client, "add_prompt", session_id, frame_index=0, points=[[79, 10]],
                 point_labels=[1], obj_id=1, rel_coordinates=False)  # fmt: skip
    assert shown_ids(answer["outputs"]) == [1]


def test_sources_that_cannot_be_opened(client: Client, store: SessionStore, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    for path, complaint in ((tmp_path / "nowhere.mp4", "does not exist"), (text, "notes")):
        with pytest.raises(SourceError, match=complaint):
            start(client, path)
    assert store.list_sessions().sessions == ()


def test_relative_paths_are_the_clients(
    client: Client, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    session_id = start(client, clip.name)
    assert ask(client, "get_session", session_id)["source"] == str(clip)


def test_a_broken_file_gives_what_it_has(client: Client, clip: Path, tmp_path: Path) -> None:
    broken = write_numbered_clip(
        tmp_path / "broken.mp4", 60, container_options={"movflags": "faststart"}
    )
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) * 2 // 3])
    session_id = start(client, broken)
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    seen = []
    with pytest.raises(SourceError, match="truncated"):  # noqa: PT012 - the loop is what raises
        for answer in stream(client, "propagate_in_video", session_id):
            seen.append(answer["frame_index"])
    assert seen == list(range(len(seen)))
    assert 0 < len(seen) < 60
    assert ask(client, "get_session", session_id)["state"] == "running"


def test_sessions_are_listed_and_described(client: Client, clip: Path) -> None:
    first = start(client, clip, owner="ann", expire_after_s=100)
    second = start(client, "pushed://", owner="bob", latency="live", queue_size=3)
    listing = client.handle_request({"type": "list_sessions"})
    assert listing["unreadable"] == []
    assert [one["session_id"] for one in listing["sessions"]] == [first, second]
    owned = client.handle_request({"type": "list_sessions", "owner": "bob"})["sessions"]
    assert [one["session_id"] for one in owned] == [second]
    one = ask(client, "get_session", first)
    assert (one["state"], one["owner"], one["runs_by_itself"]) == ("running", "ann", False)
    assert 0 < one["expires_s"] - time.time() < 101
    two = ask(client, "get_session", second)
    assert two["runs_by_itself"] is True
    assert two["options"] == {"latency": "live", "queue_size": 3}
    assert one["frames"] == {"decoded": 0, "processed": 0, "dropped": {}, "in_flight": 0}


def test_pushed_frames(client: Client, store: SessionStore) -> None:
    session_id = start(client, "pushed://", latency="live")
    ask(client, "add_prompt", session_id, frame_index=0, text="red circle")
    results = stream(client, "stream_results", session_id)
    for number in range(6):
        pushed = ask(client, "push_frame", session_id, frame=numbered_image(number),
                     pts_s=number / 10, is_last=number == 5)  # fmt: skip
        assert pushed["frame_index"] == number
        answer = next(results)
        assert answer["outputs"]["out_probs"][0] == pytest.approx(number / 1000)
        assert (answer["frame_index"], answer["pts_s"]) == (number, number / 10)
        assert answer["cursor"] == number + 1
    assert list(results) == []
    store.wait_for_state(session_id, [SessionState.ENDED], 20)
    described = ask(client, "get_session", session_id)
    assert described["frames"] == {"decoded": 6, "processed": 6, "dropped": {}, "in_flight": 0}
    assert described["stats"]["latency_ms"]["p50"] >= 0
    with pytest.raises(SessionError, match="ended"):
        ask(client, "push_frame", session_id, frame=numbered_image(0))
    assert ask(client, "cancel_propagation", session_id) == {"is_success": False}


def test_a_prompt_while_frames_are_pushed(client: Client) -> None:
    session_id = start(client, "pushed://", latency="live")
    for number in range(3):
        ask(client, "push_frame", session_id, frame=numbered_image(number))
    results = stream(client, "stream_results", session_id)
    assert [shown_ids(next(results)["outputs"]) for _ in range(3)] == [[], [], []]
    with ThreadPoolExecutor(1) as pool:
        box = pool.submit(
            ask, client, "add_prompt", session_id, frame_index=1, obj_id=5,
            bounding_boxes=[[10, 10, 20, 20]], rel_coordinates=False,
        )  # fmt: skip
        _until(lambda: client.store.get_session(session_id).journal_sequence == 1)
        ask(client, "push_frame", session_id, frame=numbered_image(3))
        answer = box.result(20)
    assert (answer["frame_index"], answer["took_effect_at"], answer["obj_id"]) == (1, 3, 5)
    assert all(isinstance(warning, str) for warning in answer["warnings"])
    assert answer["outputs"] is None
    shown = next(results)
    assert (shown["frame_index"], shown_ids(shown["outputs"])) == (3, [5])
    ask(client, "push_frame", session_id, is_last=True)
    assert list(results) == []


def test_controls_overtake_a_prompt_that_waits_for_a_frame(client: Client) -> None:
    session_id = start(client, "pushed://", latency="live")
    with ThreadPoolExecutor(2) as pool:
        box = pool.submit(
            ask, client, "add_prompt", session_id, frame_index=0, obj_id=5, points=[[0.5, 0.5]],
            point_labels=[1],
        )  # fmt: skip
        _until(lambda: client.store.get_session(session_id).journal_sequence == 1)
        pause = pool.submit(ask, client, "pause_session", session_id)
        _until(lambda: client.store.get_session(session_id).state == SessionState.PAUSED)
        assert ask(client, "cancel_propagation", session_id) == {"is_success": True}
        with pytest.raises(PromptError, match="cancelled before a frame came"):
            box.result(20)
        assert pause.result(20) == {"is_success": True}


def test_a_file_that_runs_by_itself(client: Client, loop: ServingLoop, clip: Path) -> None:
    session_id = start(client, clip, autostart=True, every_nth=2, start_frame=3, max_frames=4)
    answers = list(stream(client, "stream_results", session_id))
    assert [one["frame_index"] for one in answers] == [4, 6, 8, 10]
    # The tracker counts what it sees, or it would remember nothing of the frames before.
    assert loop.tracking(session_id).seen == [4, 6, 8, 10]
    assert loop.tracking(session_id).numbers == [0, 1, 2, 3]
    client.store.wait_for_state(session_id, [SessionState.ENDED], 20)
    with pytest.raises(SessionError, match="ended"):
        ask(client, "add_prompt", session_id, frame_index=0, text="late")


def test_a_running_session_cannot_propagate(client: Client) -> None:
    session_id = start(client, "pushed://")
    with pytest.raises(SessionError, match=r"runs by itself.* stream_results"):
        stream(client, "propagate_in_video", session_id)
    ask(client, "close_session", session_id)


def test_nobody_serves(store: SessionStore, clip: Path) -> None:
    client = Client(store, start_timeout_s=0.1)
    with pytest.raises(SessionError, match=r"no runtime has begun .*maskstream serve"):
        start(client, clip)
    assert store.list_sessions().sessions == ()


def test_no_answer_in_time(store: SessionStore, clip: Path) -> None:
    session_id = _started(store)
    client = Client(store, answer_timeout_s=0.1)
    with pytest.raises(SessionError, match=r"has not applied add_concept in 0\.1 s; it is entry 1"):
        ask(client, "add_prompt", session_id, frame_index=0, text="star")


def test_a_session_that_fails_tells_those_who_wait(store: SessionStore) -> None:
    session_id = _started(store)
    client = Client(store, answer_timeout_s=30)
    with ThreadPoolExecutor(2) as pool:
        prompt = pool.submit(ask, client, "add_prompt", session_id, frame_index=0, text="star")
        follower = pool.submit(lambda: list(stream(client, "stream_results", session_id)))
        _until(lambda: store.get_session(session_id).journal_sequence == 1)
        store.transition(session_id, SessionState.FAILED, reason="SourceError: the camera is gone")
        with pytest.raises(SessionError, match=r"is failed before add_concept .* camera is gone"):
            prompt.result(20)
        with pytest.raises(SourceError, match="the camera is gone"):
            follower.result(20)


def test_a_reader_is_told_that_nobody_serves_the_session_any_more(store: SessionStore) -> None:
    session_id = _started(store)
    assert store.claim_session("a runtime", lease_s=0.3) == session_id
    _publish(store, session_id, 0)
    followed = stream(Client(store), "stream_results", session_id)
    assert next(followed)["frame_index"] == 0
    with pytest.raises(SessionError, match=r"nobody serves .* runtime a runtime was last heard of"):
        next(followed)
    assert store.get_session(session_id).state == SessionState.RUNNING


def test_a_reader_goes_on_when_another_runtime_takes_over(store: SessionStore) -> None:
    session_id = _started(store)
    assert store.claim_session("first", lease_s=0.3) == session_id
    client = Client(store, takeover_timeout_s=60)
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(lambda: list(stream(client, "stream_results", session_id)))
        _until(lambda: store.claim_session("second", lease_s=0.3) == session_id)
        _publish(store, session_id, 0)
        # What comes late from a worker whose runtime is gone is news too.
        _until(lambda: _has_run_out(store, session_id))
        _publish(store, session_id, 1)
        store.transition(session_id, SessionState.DRAINING)
        store.transition(session_id, SessionState.ENDED)
        assert [answer["frame_index"] for answer in follower.result(20)] == [0, 1]


def _publish(store: SessionStore, session_id: str, index: int) -> None:
    record = make_result(index, []).to_record()
    entry = ResultEntry(frame_index=index, step=index, wall_s=time.time(), record=record)
    store.publish_result(session_id, entry)


def _has_run_out(store: SessionStore, session_id: str) -> bool:
    claim = store.get_claim(session_id)
    return claim is not None and claim.has_run_out


def test_what_no_runtime_of_ours_writes_is_named(store: SessionStore) -> None:
    session_id = _started(store)
    client = Client(store, answer_timeout_s=30)

    def answered(detail: dict[str, Any]) -> Exception:
        with ThreadPoolExecutor(1) as pool:
            prompt = pool.submit(ask, client, "add_prompt", session_id, frame_index=0, text="star")
            sequence = store.get_session(session_id).settled_sequence + 1
            _until(lambda: store.get_session(session_id).journal_sequence == sequence)
            store.settle_entry(session_id, sequence, Outcome(frame_index=0, detail=detail))
            caught = prompt.exception(20)
            assert isinstance(caught, Exception)
            return caught

    for detail, complaint in (
        ({"prompt_id": "zero"}, "an outcome that cannot be read: prompt_id: "),
        ({"record": {"objects": 3}}, "a result that cannot be read: not a frame record"),
    ):
        error = answered(detail)
        assert isinstance(error, StoreError)
        assert complaint in str(error)


def test_limits_of_the_service(store: SessionStore, client: Client, clip: Path) -> None:
    store.set_service_limits(ServiceLimits(max_sessions=2, max_sessions_per_owner=1))
    first = start(client, clip, owner="ann")
    with pytest.raises(SessionLimitError, match="'ann' has 1 open sessions"):
        start(client, clip, owner="ann")
    start(client, clip, owner="bob")
    with pytest.raises(SessionLimitError, match="there are 2 open sessions"):
        start(client, clip, owner="eve")
    ask(client, "close_session", first)
    start(client, clip, owner="eve")


def test_a_thousand_prompts_and_no_more(store: SessionStore) -> None:
    session_id = _started(store)
    for number in range(1000):
        store.append_entry(session_id, NewEntry(kind="add_concept", payload={"text": f"{number}"}))
    with pytest.raises(SessionLimitError, match="max_prompts, which is 1000"):
        ask(Client(store), "add_prompt", session_id, frame_index=0, text="one more")
    assert store.get_session(session_id).num_prompts == 1000


def test_doors_and_addresses(client: Client) -> None:
    with pytest.raises(RequestError, match="handle_stream_request"):
        ask(client, "propagate_in_video", "s")
    with pytest.raises(RequestError, match="handle_request"):
        stream(client, "get_session", "s")
    with pytest.raises(SessionNotFoundError):
        stream(client, "stream_results", "s")
    with pytest.raises(SessionNotFoundError):
        stream(client, "propagate_in_video", "s")
    with pytest.raises(ConfigError, match="no Redis URL"):
        Client("http://localhost")
    with pytest.raises(StoreError, match="no Redis server can be reached"):
        Client("redis://127.0.0.1:1/0")


def test_the_picture_arrives_as_it_was_pushed(client: Client, store: SessionStore) -> None:
    seen: list[int] = []
    session_id = start(client, "pushed://", region=[0, 0, 1, 0.5], latency="live")
    ask(client, "push_frame", session_id, frame=numbered_image(77), coding="png", is_last=True)
    for answer in stream(client, "stream_results", session_id):
        seen.append(answer["outputs"]["out_binary_masks"].shape[1])
    assert seen == [24]
    assert number_in(numbered_image(77)) == 77


def _started(store: SessionStore) -> str:
    """A session that a runtime has begun with, and then forgotten."""
    from maskstream.pipeline.store import NewSession

    record = store.create_session(NewSession(source="clip.mp4"))
    store.transition(record.session_id, SessionState.RUNNING)
    return record.session_id


def _wait(event: threading.Event) -> None:
    assert event.wait(20)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
