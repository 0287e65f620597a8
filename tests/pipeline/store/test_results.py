"""The contract of every store: the log of results and the checkpoint."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from maskstream.core.errors import InputError, SessionError, SessionLimitError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.store import Counters, Outcome, ResultEntry, SessionState, SessionStore
from tests.pipeline.store.records import checkpoint, concept, new_session, result
from tests.pipeline.store.servers import eventually

LONG_S = 30.0


def read_all(store: SessionStore, cursor: int = 0, count: int = 5) -> list[ResultEntry]:
    entries: list[ResultEntry] = []
    while True:
        page = store.read_results("s", cursor, count=count)
        if page.cursor == cursor:
            return entries
        entries += page.entries
        cursor = page.cursor


def test_results_are_read_from_any_cursor(store: SessionStore) -> None:
    store.create_session(new_session())
    for index in range(12):
        assert store.publish_result("s", result(index, n=index)) == index + 1
    for cursor in range(13):
        assert [entry.frame_index for entry in read_all(store, cursor)] == list(range(cursor, 12))
    record = store.get_session("s")
    assert (record.result_sequence, record.last_result) == (12, (0, 11))
    with pytest.raises(InputError, match="cursor 13 is ahead of the log"):
        store.read_results("s", 13)


def test_a_real_result_survives(store: SessionStore) -> None:
    masks = np.random.default_rng(0).random((3, 20, 30)) > 0.5
    empty = FrameResult.empty(4, 0.5, (20, 30))
    frame = FrameResult(
        **vars(empty)
        | {
            "obj_ids": np.arange(3),
            "prompt_ids": np.zeros(3, np.int64),
            "labels": ["ball", "球", '"'],
            "scores": np.array([0.5, np.nan, 1], np.float32),
            "tracker_scores": np.ones(3, np.float32),
            "boxes_xywh": np.zeros((3, 4), np.float32),
            "masks": masks,
            "states": ["confirmed"] * 3,
            "first_frames": np.zeros(3, np.int64),
        }
    )
    store.create_session(new_session())
    entry = ResultEntry(
        frame_index=4, epoch=2, step=4, wall_s=1.25, gap_s=0.5, record=frame.to_record()
    )
    store.publish_result("s", entry)
    (found,) = store.read_results("s").entries
    assert found == entry
    back = FrameResult.from_record(found.record)
    np.testing.assert_array_equal(back.masks, masks)
    assert back.labels == frame.labels


def test_each_frame_once_and_in_order_whatever_is_repeated(store: SessionStore) -> None:
    store.create_session(new_session())
    order = [(0, 0), (0, 0), (0, 2), (0, 1), (0, 3), (0, 0), (1, 1), (0, 4), (1, 1), (1, 2)]
    sequences = [store.publish_result("s", result(index, epoch)) for epoch, index in order]
    assert sequences == [1, None, 2, None, 3, None, 4, None, None, 5]
    places = [entry.place for entry in read_all(store)]
    assert places == [(0, 0), (0, 2), (0, 3), (1, 1), (1, 2)]


def test_workers_that_publish_the_same_frames_at_once(store: SessionStore) -> None:
    store.create_session(new_session())

    def run(worker: int) -> int:
        published = [store.publish_result("s", result(index, by=worker)) for index in range(20)]
        return sum(sequence is not None for sequence in published)

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(run, range(4)))
    assert sum(counts) == len(read_all(store))
    indices = [entry.frame_index for entry in read_all(store)]
    assert indices == sorted(set(indices))
    assert indices[-1] == 19


def test_counters_go_with_new_results_only(store: SessionStore) -> None:
    store.create_session(new_session())
    store.publish_result("s", result(0), counters=Counters(decoded=1, processed=1))
    store.publish_result("s", result(0), counters=Counters(decoded=9, processed=2))
    assert store.get_session("s").counters == Counters(decoded=1, processed=1)


def test_many_readers_follow(store: SessionStore) -> None:
    store.create_session(new_session())

    def follow(start: int) -> list[int]:
        cursor, seen = start, list[int]()
        while True:
            page = store.read_results("s", cursor, timeout_s=LONG_S)
            seen += [entry.frame_index for entry in page.entries]
            cursor = page.cursor
            if page.is_end:
                return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(follow, start) for start in (0, 0, 0)]
        for index in range(30):
            store.publish_result("s", result(index))
        late = pool.submit(follow, 25)
        store.transition("s", SessionState.FAILED)
        assert [reader.result(10) for reader in readers] == [list(range(30))] * 3
        assert late.result(10) == list(range(25, 30))


def test_a_reader_waits_and_gives_up(store: SessionStore) -> None:
    store.create_session(new_session())
    page = store.read_results("s", timeout_s=0.05)
    assert (page.entries, page.cursor, page.num_missed, page.is_end) == ((), 0, 0, False)
    found: list[ResultEntry] = []
    reader = threading.Thread(
        target=lambda: found.extend(store.read_results("s", timeout_s=LONG_S).entries)
    )
    reader.start()
    store.publish_result("s", result(0))
    reader.join(10)
    assert found == [result(0)]


def test_the_log_is_capped_and_tells_what_is_gone(store: SessionStore) -> None:
    store.create_session(new_session(limits={"max_results": 10}))
    for index in range(25):
        store.publish_result("s", result(index))
    page = store.read_results("s", 3)
    assert [entry.frame_index for entry in page.entries] == list(range(15, 25))
    assert (page.num_missed, page.cursor) == (12, 25)
    assert store.read_results("s", 15).num_missed == 0


def test_old_results_go(store: SessionStore) -> None:
    store.create_session(new_session(limits={"max_result_age_s": 0.05}))
    for index in range(5):
        store.publish_result("s", result(index))
    numbers = iter(range(5, 10**9))

    def publish_until_the_first_are_gone() -> bool:
        store.publish_result("s", result(next(numbers)))
        return store.read_results("s", count=1).num_missed >= 5

    assert eventually(publish_until_the_first_are_gone)


def test_results_over_a_limit_are_refused(store: SessionStore) -> None:
    store.create_session(new_session(limits={"max_result_bytes": 200}))
    with pytest.raises(SessionLimitError, match="max_result_bytes, which is 200"):
        store.publish_result("s", result(0, text="x" * 200))
    assert store.publish_result("s", result(0)) == 1


def test_a_session_that_is_over_takes_no_results(store: SessionStore) -> None:
    store.create_session(new_session())
    store.publish_result("s", result(0))
    store.transition("s", SessionState.DRAINING)
    assert store.publish_result("s", result(1)) == 2
    assert store.read_results("s", 2).is_end is False
    store.transition("s", SessionState.ENDED)
    with pytest.raises(SessionError, match="is ended and cannot take results"):
        store.publish_result("s", result(2))
    assert store.publish_result("s", result(1)) is None
    assert store.read_results("s", 0, count=1).is_end is False
    assert store.read_results("s", 1).is_end is True
    page = store.read_results("s", 2, timeout_s=LONG_S)
    assert (page.entries, page.is_end) == ((), True)


def test_checkpoints(store: SessionStore) -> None:
    store.create_session(new_session())
    assert store.load_checkpoint("s") is None
    store.append_entry("s", concept())
    store.settle_entry("s", 1, Outcome(frame_index=0))
    store.publish_result("s", result(0))
    blob = bytes(range(256)) * 100
    saved = checkpoint(3, blob, journal_sequence=1, result_sequence=1)
    assert store.save_checkpoint("s", saved) is True
    assert store.save_checkpoint("s", checkpoint(2)) is False
    assert store.load_checkpoint("s") == saved
    again = checkpoint(3, b"", epoch=0)
    assert store.save_checkpoint("s", again) is True
    assert store.load_checkpoint("s") == again
    assert store.save_checkpoint("s", checkpoint(0, epoch=1)) is True
    assert store.save_checkpoint("s", checkpoint(9)) is False


def test_a_checkpoint_does_not_run_ahead(store: SessionStore) -> None:
    store.create_session(new_session(limits={"max_checkpoint_bytes": 10}))
    store.append_entry("s", concept())
    refused = [
        (checkpoint(0, journal_sequence=1), SessionError, "journal_sequence 1, but only 0"),
        (checkpoint(0, result_sequence=2), SessionError, "result_sequence 2, but only 0"),
        (checkpoint(0, bytes(11)), SessionLimitError, "max_checkpoint_bytes, which is 10"),
    ]
    for one, kind, message in refused:
        with pytest.raises(kind, match=message):
            store.save_checkpoint("s", one)
    assert store.load_checkpoint("s") is None


def test_what_is_given_may_change_afterwards(store: SessionStore) -> None:
    store.create_session(new_session())
    record = {"objects": [1, 2]}
    store.publish_result("s", ResultEntry(frame_index=0, step=0, wall_s=0.0, record=record))
    record["objects"].append(3)
    (found,) = store.read_results("s").entries
    assert found.record == {"objects": [1, 2]}


def test_huge_indices_are_kept_to_the_digit(store: SessionStore) -> None:
    store.create_session(new_session())
    publish = partial(store.publish_result, "s")
    top = 2**53 - 1
    assert publish(result(top - 1)) == 1
    assert publish(result(top)) == 2
    assert publish(result(top)) is None
    assert store.get_session("s").last_result == (0, top)


def test_a_run_backward_counts_its_steps_and_ends(store: SessionStore) -> None:
    store.create_session(new_session())
    backward = [
        ResultEntry(frame_index=2 - step, epoch=1, step=step, wall_s=1.0, record={})
        for step in range(3)
    ]
    end = ResultEntry(
        frame_index=0, epoch=1, step=3, kind="end", wall_s=1.0, record={"reason": "finished"}
    )
    assert [store.publish_result("s", entry) for entry in [*backward, end]] == [1, 2, 3, 4]
    assert store.publish_result("s", end) is None
    assert store.read_results("s").entries == (*backward, end)
    assert store.get_session("s").last_result == (1, 3)


def test_a_checkpoint_goes_with_an_outcome_or_neither_is_kept(store: SessionStore) -> None:
    store.create_session(new_session(limits={"max_checkpoint_bytes": 10}))
    for text in ("ball", "dog"):
        store.append_entry("s", concept(text))
    saved = checkpoint(2, journal_sequence=1)
    outcome = Outcome(frame_index=3)
    assert store.settle_entry("s", 1, outcome, checkpoint=saved) == outcome
    assert store.load_checkpoint("s") == saved
    # Settled already: the other worker's checkpoint stands.
    store.settle_entry("s", 1, outcome, checkpoint=checkpoint(5, journal_sequence=1))
    assert store.load_checkpoint("s") == saved
    for one, kind in (
        (checkpoint(3, bytes(11), journal_sequence=2), SessionLimitError),
        (checkpoint(3, journal_sequence=3), SessionError),
    ):
        with pytest.raises(kind):
            store.settle_entry("s", 2, outcome, checkpoint=one)
    assert store.get_session("s").settled_sequence == 1
    assert store.load_checkpoint("s") == saved


def test_stats_are_told_without_credentials_and_bounded(store: SessionStore) -> None:
    store.create_session(new_session())
    assert store.get_session("s").stats == {}
    store.report("s", stats={"fps": 12.5, "last_fault": "rtsp://ann:secret@cam refused"})
    store.report("s", epoch=1)
    stats = store.get_session("s").stats
    assert stats["fps"] == 12.5
    assert "secret" not in stats["last_fault"]
    with pytest.raises(InputError, match=r"at most 8,192"):
        store.report("s", stats={"x": "y" * 9000})
    with pytest.raises(InputError, match="not JSON"):
        store.report("s", stats={"fps": float("nan")})
    assert store.get_session("s").stats == stats
