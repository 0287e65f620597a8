"""Files through Ray: the same to the bit as in one process, whoever drives."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.commands import (
    AddConcept,
    AddObject,
    Cancel,
    Pause,
    Propagate,
    RemoveObject,
    RemovePrompt,
    Reset,
    Resume,
)
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionState, SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.integration.serving import (
    Reference,
    Served,
    assert_same,
    check_account,
    eventually,
    play_prompts,
    settled_prompts,
)
from tests.pipeline import scene

CIRCLE_BOX = (0.16, 0.17, 0.24, 0.33)


@pytest.mark.parametrize("latency", ["delayed", "live"])
def test_a_file_that_runs_by_itself(
    store: SessionStore, clip: Path, model: VideoModel, name: str, latency: str
) -> None:
    served = Served.start(store, clip, name, autostart=True, latency=latency)
    for text in ("red circle", "blue square"):
        served.ask(AddConcept(text=text))
    found = served.read_run()
    assert [result.frame_index for result in found] == list(range(40))
    assert_same(found, play_prompts(model, clip, settled_prompts(served), latency=latency))
    assert any(len(result) == 2 for result in found)
    served.wait_for(SessionState.ENDED)
    check_account(served)
    record = store.get_session(name)
    assert record.counters.decoded == record.counters.processed == 40
    assert record.stats["latency_ms"]["p50"] > 0
    assert {label for result in found for label in result.labels} == {"red circle", "blue square"}
    assert all(entry.record["pts_s"] is not None for entry in served.entries[:-1])


def test_a_driven_session_in_all_directions(
    store: SessionStore, clip: Path, model: VideoModel, name: str
) -> None:
    served, reference = Served.start(store, clip, name), Reference(model, clip)
    told = served.do(AddConcept(text="red circle", frame_index=12))
    expected = reference.add(12, AddConcept(text="red circle"))
    assert_same([FrameResult.from_record(told.detail["record"])], [expected])
    assert (told.frame_index, told.detail["prompt_id"]) == (12, 0)
    mask = scene.blue_square(20)
    told = served.do(AddObject(obj_id=7, mask=dict(encode_mask(mask)), frame_index=20))
    expected = reference.add(20, AddObject(obj_id=7, mask=dict(encode_mask(mask))))
    assert_same([FrameResult.from_record(told.detail["record"])], [expected])
    assert told.detail["obj_id"] == 7

    whole = served.propagate(direction="both")
    assert_same(whole, reference.propagate("both", 12))
    assert [result.frame_index for result in whole] == [*range(12, 40), *range(11, -1, -1)]
    some = served.propagate(direction="backward", start_frame_index=30, max_distance=5)
    assert_same(some, reference.propagate("backward", 30, 5))
    served.do(AddConcept(boxes=[CIRCLE_BOX], box_labels=[1], frame_index=3))
    reference.add(3, AddConcept(boxes=[CIRCLE_BOX], box_labels=[1]))
    again = served.propagate(direction="forward", start_frame_index=3, max_distance=8)
    assert_same(again, reference.propagate("forward", 3, 8))
    epochs = [entry.epoch for entry in served.entries]
    assert epochs == sorted(epochs)
    assert set(epochs) == {1, 2, 3, 4}
    check_account(served)
    served.close()


def test_prompts_in_the_middle_leave_the_others_alone(
    store: SessionStore, clip: Path, model: VideoModel, name: str
) -> None:
    served = Served.start(store, clip, name, autostart=True, latency="live")
    first = served.ask(AddConcept(text="red circle"))
    served.reach(8)
    mask = dict(encode_mask(scene.blue_square(8)))
    barrier = threading.Barrier(2)

    def prompt(command: AddConcept | AddObject) -> int:
        barrier.wait(10)
        return served.ask(command)

    with ThreadPoolExecutor(2) as pool:
        asked = list(
            pool.map(prompt, [AddConcept(text="blue square"), AddObject(obj_id=50, mask=mask)])
        )
    outcomes = [served.outcome(sequence) for sequence in [first, *sorted(asked)]]
    frames = [outcome.frame_index for outcome in outcomes]
    assert all(outcome.rejection is None for outcome in outcomes)
    assert frames == sorted(frames)
    assert frames[1] is not None
    assert 8 < frames[1] < 40
    [*entries, _] = [*served.entries, *served.read_until(lambda entry: entry.kind == "end")]
    found = [FrameResult.from_record(entry.record) for entry in entries]
    prompts = settled_prompts(served)
    assert len(prompts) == 3
    assert_same(found, play_prompts(model, clip, prompts, latency="live"))
    alone = play_prompts(model, clip, prompts[:1], latency="live")
    ids = {obj_id for result in alone for obj_id in result.obj_ids.tolist()}
    assert any(len(result) > len(ids) for result in found)
    assert_same(found, alone, only=ids)


def test_pause_resume_cancel_and_reset(
    store: SessionStore, clip: Path, model: VideoModel, name: str
) -> None:
    served = Served.start(store, clip, name, latency="live")
    served.do(AddConcept(text="red circle", frame_index=0))
    served.cursor = served.do(Propagate(direction="forward")).detail["cursor"]
    served.reach(3)
    assert served.do(Pause()).detail["is_success"] is True
    served.wait_for(SessionState.PAUSED)
    assert served.do(Pause()).detail["is_success"] is False
    until = store.get_session(name).result_sequence
    told = served.do(AddConcept(text="blue square", frame_index=0))  # prompts are taken meanwhile
    assert told.detail["prompt_id"] == 1
    assert store.get_session(name).result_sequence == until
    refused = served.outcome(served.ask(Propagate()))
    assert "propagating already" in str(refused.rejection)
    served.do(Resume())
    served.wait_for(SessionState.RUNNING)
    served.reach(until + 2)
    assert served.do(Cancel()).detail["is_success"] is True
    end = served.read_until(lambda entry: entry.kind == "end")[-1]
    assert end.record["reason"] == "cancelled"
    assert end.step < 39
    assert served.do(Cancel()).detail["is_success"] is False
    assert served.do(RemovePrompt(prompt_id=1)).detail["is_success"] is True
    assert served.do(RemovePrompt(prompt_id=1)).detail["is_success"] is False
    assert served.do(RemoveObject(obj_id=99)).detail["is_success"] is False
    served.do(Reset())
    assert "no prompt" in str(served.outcome(served.ask(Propagate())).rejection)
    served.do(AddConcept(text="blue square", frame_index=5))
    reference = Reference(model, clip, latency="live")
    reference.add(5, AddConcept(text="blue square"))
    expected = reference.propagate("forward", 5, 6)
    assert_same(served.propagate(direction="forward", max_distance=6), expected)
    served.close()


def test_what_cannot_be_done_is_refused_and_changes_nothing(
    store: SessionStore, clip: Path, name: str
) -> None:
    served = Served.start(store, clip, name)
    refusals = [
        (AddConcept(text="circle", frame_index=400), "InputError: .*no frame 400"),
        (AddConcept(text="word " * 190), "PromptError: .*token"),
        (AddObject(obj_id=1, points=[(900.0, 3.0)], point_labels=[1], in_pixels=True), "points"),
        (Propagate(), "no prompt"),
    ]
    for command, _ in refusals:
        served.ask(command)
    for sequence, (command, wanted) in enumerate(refusals, 1):
        rejection = served.outcome(sequence).rejection
        assert rejection is not None, command
        assert re.search(wanted, rejection), rejection
    told = served.do(AddConcept(text="red circle", frame_index=0))
    assert told.detail["prompt_id"] == 0
    assert len(served.propagate(direction="forward", max_distance=2)) == 3
    served.close()


def test_sources_that_cannot_be_opened_fail_with_the_reason(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    for number, (source, options, reason) in enumerate(
        [
            (tmp_path / "missing.mp4", {}, "SourceError: .*does not exist"),
            (broken, {}, "SourceError: .*broken.mp4"),
            (broken, {"autostart": True}, "SourceError: .*broken.mp4"),
            ("gopher://host/x", {}, "InputError: .*gopher"),
        ]
    ):
        served = Served.start(store, source, f"{name}-{number}", **options)
        served.wait_for(SessionState.FAILED)
        stored = store.get_session(served.session_id).reason
        assert re.match(reason, stored), stored


def test_a_closed_session_is_forgotten_by_its_worker(
    store: SessionStore, clip: Path, name: str, runtime: Runtime
) -> None:
    served = Served.start(store, clip, name)
    served.do(AddConcept(text="red circle", frame_index=0))
    served.do(Propagate(direction="forward"))
    served.close()
    eventually(lambda: name not in runtime.session_ids)
    deleted = Served.start(store, clip, f"{name}-2")
    deleted.do(AddConcept(text="red circle", frame_index=0))
    store.delete_session(deleted.session_id)
    eventually(lambda: deleted.session_id not in runtime.session_ids)


def test_half_of_the_frames_of_a_part(store: SessionStore, clip: Path, name: str) -> None:
    region = (0.0, 0.0, 0.5, 0.5)
    served = Served.start(
        store, clip, name, autostart=True, every_nth=2, start_frame=4, max_frames=6, region=region
    )
    served.ask(AddConcept(text="red circle"))
    found = served.read_run()
    assert [result.frame_index for result in found] == [4, 6, 8, 10, 12, 14]
    assert all(result.frame_size == (120, 160) for result in found)
    served.wait_for(SessionState.ENDED)
    counters = store.get_session(name).counters
    assert counters.processed == 6
    assert counters.dropped.get("sampling", 0) >= 5
    assert counters.in_flight == 0
    assert np.all([len(result) <= 1 for result in found])


def test_a_worker_that_another_has_superseded_lets_go(
    runtime: Runtime, store: SessionStore, clip: Path, name: str
) -> None:
    served = Served.start(store, clip, name)
    served.do(AddConcept(text="red circle", frame_index=0))
    token = store.take_over(name)
    eventually(lambda: name not in runtime.session_ids)
    record = store.get_session(name)
    assert (record.state, record.writer) == (SessionState.RUNNING, token)
    store.delete_session(name)
