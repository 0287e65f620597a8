"""Streams and pushed frames through Ray: identities and the account of frames survive faults."""

from __future__ import annotations

import pytest

from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.commands import AddConcept, AddObject, Pause, Resume
from maskstream.pipeline.api.frame_codec import encode_frame
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.store import SessionLimits, SessionState, SessionStore
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter
from tests.faults.killing import kill, one_pid
from tests.integration.serving import Served, assert_same, eventually
from tests.integration.streams import end_stream, ids_of, start_stream
from tests.pipeline import scene
from tests.pipeline.live.rtsp import RtspServer


def test_a_stream_goes_on_after_its_trackers_and_its_decoders_death(
    runtime: Runtime, store: SessionStore, server: RtspServer, name: str
) -> None:
    served, circle = start_stream(store, server.url(), name)
    mask = dict(encode_mask(scene.blue_square(5)))
    served.do(AddObject(obj_id=70, mask=mask))
    # The frame that it was drawn on is gone for ever; the object is not.
    for kind in ("track", "decode"):
        epoch = served.entries[-1].epoch
        pid = one_pid(runtime, kind)
        kill(pid)
        served.read_until(lambda entry, epoch=epoch: entry.epoch > epoch)  # type: ignore[misc]
        served.read_until(lambda entry: {circle, 70} <= ids_of(entry))
    dropped = store.get_session(name).counters.dropped
    assert set(dropped) <= {"worker_lost", "queue_full"}
    end_stream(served)


def test_a_paused_stream_drops_and_counts(
    store: SessionStore, server: RtspServer, name: str
) -> None:
    served, circle = start_stream(store, server.url(), name)
    served.do(Pause())
    before = store.get_session(name).counters
    eventually(lambda: runtime_dropped(store, name) > before.num_dropped)
    served.do(Resume())
    served.read_until(lambda entry: circle in ids_of(entry))
    end_stream(served)
    assert store.get_session(name).counters.dropped["queue_full"] > 0


def runtime_dropped(store: SessionStore, name: str) -> int:
    return store.get_session(name).counters.num_dropped


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "tracker killed"])
def test_pushed_frames(
    runtime: Runtime, store: SessionStore, model: VideoModel, name: str, killed: bool
) -> None:
    limits = SessionLimits(max_waiting_frames=64)
    served = Served.start(store, "pushed://", name, limits, queue_size=64)
    first = served.ask(AddConcept(text="red circle"))
    for index in range(24):
        store.push_frame(name, encode_frame(scene.image(index)), index / 10)
        if index == 19:
            assert served.outcome(first).frame_index == 0
        if killed and index == 20:
            served.reach(2)
            kill(one_pid(runtime, "track"))
    store.finish_frames(name)
    found = served.read_run()
    if killed:
        found = [FrameResult.from_record(one.record) for one in served.entries[:-1]]
    segmenter = VideoSegmenter(model)
    segmenter.add_concept("red circle")
    frames = [Frame(index, index / 10, scene.image(index)) for index in range(24)]
    expected = [result for frame in frames for result in segmenter.step(frame)]
    assert_same(found, expected + segmenter.flush())
    assert [result.pts_s for result in found] == [index / 10 for index in range(24)]
    served.wait_for(SessionState.ENDED)
    counters = store.get_session(name).counters
    assert (counters.decoded, counters.processed, counters.in_flight) == (24, 24, 0)
