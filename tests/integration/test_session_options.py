"""What a client may ask of a session, on Ray: what it changes there, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskstream.core.errors import SessionNotFoundError
from maskstream.pipeline.api.commands import AddConcept, RemovePrompt
from maskstream.pipeline.api.frame_codec import encode_frame
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.store import SessionLimits, SessionStore
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter
from tests.faults.killing import decoders
from tests.integration.serving import Served, assert_same, eventually
from tests.integration.streams import NUM_FRAMES, end_stream, ids_of, start_stream, write_stream
from tests.pipeline import scene


def test_a_file_in_a_loop_is_one_stream(store: SessionStore, tmp_path: Path, name: str) -> None:
    """Its frames are counted on, each pass is an epoch, and what was there is there again."""
    clip = write_stream(tmp_path / "clip.mp4")
    served, circle = start_stream(store, str(clip), name, autostart=True, loop=True)
    served.read_until(lambda entry: entry.epoch >= 2 and circle in ids_of(entry))
    frames = [entry for entry in served.entries if entry.kind == "frame"]
    assert [entry.frame_index for entry in frames] == list(range(len(frames)))  # none is lost
    assert [entry.epoch for entry in frames] == [one // NUM_FRAMES for one in range(len(frames))]
    end_stream(served)
    stats = store.get_session(name).stats
    assert stats["fps"] > 0
    assert 0 < stats["latency_ms"]["p50"] <= stats["latency_ms"]["p95"]
    assert stats["latency_ms"]["p95"] <= stats["latency_ms"]["p99"]


def test_a_session_that_nobody_uses_expires_and_is_freed(
    runtime: Runtime, store: SessionStore, clip: Path, name: str
) -> None:
    eventually(lambda: not decoders())
    served = Served.start(store, clip, name, SessionLimits(expire_after_s=15.0))
    served.do(AddConcept(text="red circle", frame_index=0))
    assert len(decoders()) == 1
    eventually(lambda: name not in runtime.session_ids)
    eventually(lambda: not decoders())
    with pytest.raises(SessionNotFoundError, match="has expired"):
        store.get_session(name)


def test_a_score_that_nothing_reaches(store: SessionStore, clip: Path, name: str) -> None:
    served = Served.start(store, clip, name, score_threshold=1.0)
    told = served.do(AddConcept(text="red circle", frame_index=0))
    assert told.detail["record"]["objects"] == []
    found = served.propagate(direction="forward", max_distance=1)
    assert [len(result) for result in found] == [0, 0]
    served.close()


def test_a_concept_is_removed_in_the_middle_and_the_others_do_not_notice(
    store: SessionStore, model: VideoModel, name: str
) -> None:
    limits = SessionLimits(max_waiting_frames=16)
    served = Served.start(store, "pushed://", name, limits, latency="live", queue_size=16)
    texts = ("red circle", "blue square")
    first, second = [served.do(AddConcept(text=text)).detail["prompt_id"] for text in texts]
    for index in range(12):
        if index == 6:  # those before it have been dealt with
            served.reach(5)
            removed = served.do(RemovePrompt(prompt_id=second))
            assert removed.detail["is_success"] is True
            assert removed.frame_index == 6
        store.push_frame(name, encode_frame(scene.image(index)), index / 10)
    store.finish_frames(name)
    served.read_run()
    found = [FrameResult.from_record(entry.record) for entry in served.entries[:-1]]

    def play(*concepts: str) -> list[FrameResult]:
        segmenter = VideoSegmenter(model, latency="live")
        ids = [segmenter.add_concept(text) for text in concepts]
        results = []
        for index in range(12):
            if index == 6 and len(ids) > 1:
                segmenter.remove_concept(ids[1])
            results += segmenter.step(Frame(index, index / 10, scene.image(index)))
        return results

    assert_same(found, play(*texts))
    alone = play(texts[0])
    assert_same(found, alone, only={one for result in alone for one in result.obj_ids.tolist()})
    assert [set(result.prompt_ids.tolist()) for result in found] == [{first, second}] * 6 + [
        {first}
    ] * 6
